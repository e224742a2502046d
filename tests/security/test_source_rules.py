"""Nothing in the suite runs code that came as data: the linter's rules are on, and it cannot see what is below."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PRODUCT = ("ecellm", "jobs", "cluster")
FORBIDDEN = [
    "eval('1')",
    "exec('1')",
    "import pickle",
    "from pickle import loads",
    "import marshal",
    "import shelve",
    "import dill",
    "import joblib",
    "import cloudpickle",
    "import torch; torch.load('x')",
    "import torch; torch.load('x', weights_only=True)",
    "from torch import load",
    "import numpy as np; np.load('x', allow_pickle=True)",
    "import pandas as pd; pd.read_pickle('x')",
    "import yaml; yaml.load('x')",
    "import yaml; yaml.load('x', yaml.Loader)",
    "import yaml; yaml.unsafe_load('x')",
    "import os; os.system('ls x')",
    "import subprocess; subprocess.run('ls x', shell=True)",
    "import subprocess; subprocess.check_output(['ls'], shell=True)",
    "import jinja2; jinja2.Environment()",
]
# Rules that say so; any code has others, such as that of a missing docstring.
RULES = ["--select", "S,TID251,PLW1510", "--output-format", "concise", "--no-cache"]
# What would let a model's own code run, as a value that is fixed in the source.
_UNSAFE_ARGUMENTS = {"trust_remote_code": True, "weights_only": False, "use_safetensors": False, "allow_pickle": True}


@pytest.mark.parametrize("source", FORBIDDEN)
def test_the_linter_refuses_what_runs_data(source):
    command = [sys.executable, "-m", "ruff", "check", *RULES, "--stdin-filename", "ecellm/made_up.py", "-"]
    result = subprocess.run(command, input=f"{source}\n", cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "made_up.py" in result.stdout


def product_files():
    return sorted(path for name in PRODUCT for path in (ROOT / name).rglob("*.py"))


def unsafe_arguments(source):
    """Return (line, argument) of calls and defaults that trust foreign code whatever the user says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        named = [(own.arg, own.value) for own in node.keywords] if isinstance(node, ast.Call) else []
        if isinstance(node, ast.FunctionDef):
            named += [
                (own.arg, default)
                for own, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                if default is not None
            ]
        if isinstance(node, ast.Dict):
            named += [(getattr(key, "value", None), value) for key, value in zip(node.keys, node.values, strict=True)]
        for name, value in named:
            if name in _UNSAFE_ARGUMENTS and getattr(value, "value", None) is _UNSAFE_ARGUMENTS[name]:
                found.append((value.lineno, name))
    return found


def compiles(source):
    """Tell whether code calls `compile`, which no rule of the linter forbids."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return any(isinstance(own, ast.Name) and own.id == "compile" for own in calls)


@pytest.mark.parametrize(
    "source",
    ["f(trust_remote_code=True)", "def f(*, trust_remote_code=True): ...", "f(**{'use_safetensors': False})"],
)
def test_trust_that_is_fixed_in_the_source_is_seen(source):
    assert unsafe_arguments(source)


def test_no_source_trusts_foreign_code_by_itself():
    files = product_files()
    assert len(files) > 150
    found = {str(path.relative_to(ROOT)): unsafe_arguments(path.read_text(encoding="utf-8")) for path in files}
    assert not {path: lines for path, lines in found.items() if lines}
    assert not [path for path in files if compiles(path.read_text(encoding="utf-8"))]
    assert compiles("compile(text, 'x', 'exec')")


def test_no_rule_against_running_data_is_switched_off():
    """A `noqa` is for what the rules cannot know: that an address or a text is ours, or is Markdown and no page."""
    switched_off = {
        (str(path.relative_to(ROOT)), rule)
        for path in product_files()
        for line in path.read_text(encoding="utf-8").splitlines()
        if "# noqa:" in line
        for rule in line.split("# noqa:")[1].replace(",", " ").split()
        if rule.startswith(("S1", "S3", "S4", "S5", "S60", "S7", "TID"))
    }
    assert {rule for _, rule in switched_off} <= {"S310", "S314", "S603", "S607", "S608", "S701"}, switched_off
