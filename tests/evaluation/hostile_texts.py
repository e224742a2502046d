"""Texts of samples and answers that would harm a page that took them for more than text."""

# What a script of the data would leave behind.
CANARY = "document.title='caught';window.canary=1"
HOSTILE = [
    f"</script><script>{CANARY}</script>",
    f'"><img src=x onerror="{CANARY}">',
    f"<svg onload={CANARY}><style>*{{display:none}}</style>",
    f"javascript:{CANARY}",
    "${window.canary=1} {{7*7}} {% raw %} `${1}`",
    "line\u2028separator\u2029 and NUL \x00 and bell \x07",
    "\u202egnirts desrever\u202c \u2066isolate\u2069 zero\u200bwidth",
    "<!-- <script> ]]> &amp; &#39; --!>",
    "x" * 100_000,
    "中文 عربي 👩‍🚀 ½",
    "yes",
    "",
]
HOSTILE_TASK = f"<img src=x onerror={CANARY.split(';')[1]}>"
