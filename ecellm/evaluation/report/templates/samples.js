// The browser of samples. All text of the data goes through textContent: nothing of it is ever read as HTML.
"use strict";
(() => {
  const PAGE_SIZE = 25;
  const EXCERPT = 220;
  const VERDICTS = ["right", "partly right", "wrong", "unreadable", "not judged"];
  // The same list as in visible_text.py.
  const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\u{e0000}-\u{e007f}]/u;
  const ENDINGS = { stop: "ended by the model itself", length: "cut off at the length limit", choice: "the likeliest choice" };
  const ALL = "";
  const get = (id) => document.getElementById(id);
  const controls = {
    task: get("filter-task"),
    setting: get("filter-setting"),
    run: get("filter-run"),
    verdict: get("filter-verdict"),
    other: get("filter-other"),
    otherVerdict: get("filter-other-verdict"),
    order: get("filter-order"),
    text: get("filter-text"),
  };
  const status = get("samples-status");
  const list = get("samples-list");
  let index = null; // what blocks there are
  let found = []; // samples that pass the filters, in order
  let page = 0;
  let generation = 0; // of the search: a slow one that was overtaken gives up
  const blocks = new Map();

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) write(made, text);
    return made;
  }

  // Write text so that nothing in it is invisible or turns the order of what stands around it; mark what is searched.
  function write(parent, text, sought) {
    const lower = sought ? text.toLowerCase() : "";
    let from = 0;
    while (from < text.length) {
      // Lower case may have another length (İ): places are then not known, and nothing is marked.
      const hit = sought && lower.length === text.length ? lower.indexOf(sought, from) : -1;
      const end = hit < 0 ? text.length : hit;
      writePlain(parent, text.slice(from, end));
      if (hit < 0) break;
      writePlain(parent.appendChild(document.createElement("mark")), text.slice(hit, hit + sought.length));
      from = hit + sought.length;
    }
  }

  function writePlain(parent, text) {
    if (!INVISIBLE.test(text)) {
      parent.append(text);
      return;
    }
    let plain = "";
    for (const character of text) {
      if (!INVISIBLE.test(character)) {
        plain += character;
        continue;
      }
      parent.append(plain);
      plain = "";
      const shown = parent.appendChild(document.createElement("span"));
      shown.className = "control";
      shown.textContent = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    }
    parent.append(plain);
  }

  // A block is base64 of gzip of JSON. It is dropped from the page once it is unpacked.
  async function unpack(name) {
    const holder = get(name);
    const packed = atob(holder.textContent);
    const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const value = await new Response(stream).json();
    holder.remove();
    return value;
  }

  // Return the samples of a block as objects that share the block's columns.
  function loadBlock(place) {
    if (!blocks.has(place.block)) {
      const loading = unpack(place.block).then((block) =>
        block.samples.id ? block.samples.id.map((id, row) => ({ place, block, row, searchText: null })) : []
      );
      blocks.set(place.block, loading);
    }
    return blocks.get(place.block);
  }

  const field = (sample, name) => sample.block.samples[name][sample.row];
  const shared = (sample, name) => {
    const place = field(sample, name);
    return place === null ? null : sample.block.texts[place];
  };
  const runValue = (sample, run, name) => {
    const columns = sample.block.runs[run];
    return columns ? columns[name][sample.row] : null;
  };

  function searchText(sample) {
    if (sample.searchText === null) {
      const answers = index.runs.map((_, run) => runValue(sample, run, "answer"));
      const texts = ["instruction", "options", "example"].map((name) => shared(sample, name));
      const own = [field(sample, "id"), field(sample, "input"), field(sample, "reference")];
      sample.searchText = [...own, ...texts, ...answers].filter((text) => text !== null).join("\n").toLowerCase();
    }
    return sample.searchText;
  }

  // "unreadable" stands for all kinds of it, "unreadable: empty answer" for one.
  function hasVerdict(sample, run, verdict) {
    if (verdict === ALL) return true;
    const [name, why] = verdict.split(": ");
    return runValue(sample, run, "verdict") === name && (!why || runValue(sample, run, "why") === why);
  }

  function passes(sample, wanted) {
    if (!hasVerdict(sample, wanted.run, wanted.verdict)) return false;
    if (!hasVerdict(sample, wanted.other, wanted.otherVerdict)) return false;
    return !wanted.text || searchText(sample).includes(wanted.text);
  }

  function wantedNow() {
    const wanted = {};
    for (const [name, control] of Object.entries(controls)) wanted[name] = control.value;
    wanted.text = wanted.text.trim().toLowerCase();
    return wanted;
  }

  const isWanted = (place, wanted) =>
    (wanted.task === ALL || place.task === wanted.task) && (wanted.setting === ALL || place.setting === wanted.setting);

  async function search() {
    const own = ++generation;
    const wanted = wantedNow();
    const places = index.places.filter((place) => isWanted(place, wanted));
    const passing = [];
    for (const [done, place] of places.entries()) {
      if (places.length > 1 && !blocks.has(place.block)) status.textContent = `Unpacking ${done + 1} of ${places.length} …`;
      for (const sample of await loadBlock(place)) {
        if (passes(sample, wanted)) passing.push(sample);
      }
      if (own !== generation) return;
    }
    sort(passing, wanted);
    found = passing;
    showPage(0);
  }

  function sort(samples, wanted) {
    if (wanted.order === "row") return;
    const sign = wanted.order === "worst" ? 1 : -1;
    // Samples that the run did not answer come last.
    const key = (sample) => runValue(sample, wanted.run, "score") ?? sign * Infinity;
    const keys = new Map(samples.map((sample) => [sample, key(sample)]));
    samples.sort((one, two) => (keys.get(one) === keys.get(two) ? 0 : sign * (keys.get(one) - keys.get(two))));
  }

  function showPage(number) {
    page = number;
    const first = page * PAGE_SIZE;
    const shown = found.slice(first, first + PAGE_SIZE);
    const all = found.length.toLocaleString("en");
    status.textContent = found.length ? `${first + 1} to ${first + shown.length} of ${all} samples` : "No sample passes these filters.";
    list.replaceChildren(...shown.map(sampleRow));
    get("page-before").disabled = page === 0;
    get("page-after").disabled = first + shown.length >= found.length;
    get("page-place").textContent = found.length ? `Page ${page + 1} of ${Math.ceil(found.length / PAGE_SIZE)}` : "";
    document.documentElement.dataset.samples = String(++showPage.count);
    performance.mark("samples shown"); // when the page can be worked with: tests/benchmarks/report_load.py
  }
  showPage.count = 0;

  function chip(verdict) {
    return element("span", `chip ${verdict.split(" ")[0]}`, verdict);
  }

  function excerpt(text, className) {
    const shown = element("span", `excerpt data ${className || ""}`);
    write(shown, text.slice(0, EXCERPT).replace(/\s+/g, " ") || "(empty)", wantedNow().text);
    return shown;
  }

  function named(name, content) {
    const made = element("div");
    made.append(element("span", "field-name", name), content);
    return made;
  }

  // One line for each sample; its body is made when it is opened.
  function sampleRow(sample) {
    const row = element("details", "sample");
    const summary = row.appendChild(element("summary"));
    const { place } = sample;
    summary.append(named(`${place.taskTitle}, ${place.settingTitle}, row ${field(sample, "index")}`, excerpt(field(sample, "input") || "")));
    const answers = summary.appendChild(element("div", "excerpts"));
    answers.append(named("reference", excerpt(field(sample, "reference") || "")));
    for (const [run, { label }] of index.runs.entries()) {
      const answer = runValue(sample, run, "answer");
      if (answer === null) continue;
      const own = named(label, excerpt(answer));
      own.firstChild.append(" ", chip(runValue(sample, run, "verdict")));
      answers.append(own);
    }
    row.addEventListener("toggle", () => {
      if (row.open && row.childElementCount === 1) row.append(sampleBody(sample));
    });
    return row;
  }

  function sampleBody(sample) {
    const body = element("div", "sample-body");
    const fields = body.appendChild(element("div", "fields"));
    const texts = [
      ["Instruction", shared(sample, "instruction")],
      ["Example in the prompt", shared(sample, "example")],
      ["Input", field(sample, "input")],
      ["Options", shared(sample, "options")],
    ];
    for (const [name, text] of texts) {
      if (text !== null && text !== "") fields.append(textField(name, text));
    }
    const answers = body.appendChild(element("div", "answers"));
    const reference = answers.appendChild(element("div", "answer reference"));
    reference.append(element("h3", "", "reference"), readable(field(sample, "reference") || ""));
    showOption(reference, sample, field(sample, "reference"));
    for (const [run, { label }] of index.runs.entries()) {
      if (runValue(sample, run, "answer") !== null) answers.append(answerCard(sample, run, label));
    }
    const category = field(sample, "category");
    body.append(element("p", "soft small-print", `sample ${field(sample, "id")}, ${field(sample, "split")}${category ? `, category ${category}` : ""}`));
    return body;
  }

  function textField(name, text) {
    const made = element("div", "field");
    made.append(element("span", "field-name", name), readable(text));
    return made;
  }

  function readable(text) {
    const content = element("div", "data");
    for (const line of readableLines(text)) write(content.appendChild(element("p")), line, wantedNow().text);
    return content;
  }

  // Objects and lists, of JSON or as Python writes lists of texts, are easier to read a line each.
  function readableLines(text) {
    // Product matching has bare NaN, as Python writes it.
    for (const json of [text, text.replace(/: NaN\b/g, ': "NaN"')]) {
      try {
        const value = JSON.parse(json);
        if (value && typeof value === "object") return linesOf(value, "");
      } catch {
        // Not JSON.
      }
    }
    const pieces = text.startsWith("[") && text.endsWith("]") ? text.match(/'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/gs) : null;
    const isList = pieces && `[${pieces.join(", ")}]` === text;
    return isList ? pieces.map((piece) => piece.slice(1, -1)) : [text];
  }

  function linesOf(value, indent) {
    const isPlain = (item) => item === null || typeof item !== "object";
    const plain = (item) => (typeof item === "string" ? item : JSON.stringify(item));
    if (Array.isArray(value)) return value.map((item) => indent + plain(item));
    return Object.entries(value).flatMap(([key, item]) =>
      isPlain(item) ? [`${indent}${key}: ${plain(item)}`] : [`${indent}${key}:`, ...linesOf(item, `${indent}    `)]
    );
  }

  // A letter by itself says little: show the option that it stands for.
  function showOption(card, sample, answer) {
    const letter = (answer || "").trim();
    if (letter.length !== 1) return;
    const option = readableLines(shared(sample, "options") || "").find((line) => line.startsWith(`${letter}:`));
    if (option) card.append(element("div", "data option", option.slice(2).trim()));
  }

  function answerCard(sample, run, label) {
    const card = element("div", "answer");
    const title = card.appendChild(element("h3", "", label));
    title.append(chip(runValue(sample, run, "verdict")));
    card.append(readable(runValue(sample, run, "answer") || "(empty)"));
    showOption(card, sample, runValue(sample, run, "answer"));
    const scores = card.appendChild(element("div", "scores"));
    const values = runValue(sample, run, "values") || {};
    const parsed = runValue(sample, run, "parsed") || {};
    for (const flavour of ["strict", "released"].filter((name) => name in values)) {
      const figures = values[flavour];
      const texts = Object.entries(figures).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
      if (parsed[flavour] !== undefined) texts.unshift(`read as ${excerptOf(parsed[flavour])}`);
      scores.append(element("p", "", `${flavour}: ${texts.join(", ") || "left out"}`));
    }
    const [prompt, completion] = runValue(sample, run, "tokens") || [];
    const finish = runValue(sample, run, "finish");
    const why = runValue(sample, run, "why");
    if (runValue(sample, run, "shortened")) scores.prepend(element("p", "warn-text", "the prompt was shortened to fit the model"));
    if (why) scores.prepend(element("p", "", `not read: ${why}`));
    scores.append(element("p", "", `${prompt ?? "?"} prompt tokens, ${completion ?? "?"} answer tokens${ENDINGS[finish] ? `, ${ENDINGS[finish]}` : ""}`));
    return card;
  }

  const excerptOf = (text) => (text.length <= 60 ? text : `${text.slice(0, 60)}…`);

  function fill(select, choices) {
    select.replaceChildren(
      ...choices.map(([value, text]) => {
        const option = element("option", "", text);
        option.value = value;
        return option;
      })
    );
  }

  function fillControls() {
    const tasks = new Map(index.places.map((place) => [place.task, place.taskTitle]));
    const settings = new Map(index.places.map((place) => [place.setting, place.settingTitle]));
    const runs = index.runs.map(({ label }, run) => [String(run), label]);
    const kinds = index.failures.map((kind) => `${VERDICTS[3]}: ${kind}`);
    const verdicts = [...VERDICTS, ...kinds].map((verdict) => [verdict, verdict]);
    fill(controls.task, [...tasks, [ALL, "all tasks"]]);
    fill(controls.setting, [...settings, [ALL, "all settings"]]);
    fill(controls.run, runs);
    fill(controls.verdict, [[ALL, "anything"], ...verdicts]);
    fill(controls.other, runs);
    fill(controls.otherVerdict, [[ALL, "anything"], ...verdicts]);
    chooseRun(String(index.main));
    for (const label of document.querySelectorAll(".of-other")) label.hidden = index.runs.length < 2;
  }

  function chooseRun(chosen) {
    controls.run.value = chosen;
    controls.other.value = String(index.runs.findIndex((_, run) => String(run) !== chosen));
  }

  // What the address asks for: #samples?task=...&verdict=wrong. What it does not name is set back.
  function readAddress() {
    const [, query] = location.hash.split("?");
    if (query === undefined) return;
    const asked = new URLSearchParams(query);
    controls.text.value = asked.get("text") || "";
    controls.verdict.value = asked.get("verdict") || ALL;
    controls.otherVerdict.value = ALL;
    controls.setting.value = asked.get("setting") || ALL;
    if (asked.has("task")) controls.task.value = asked.get("task");
    chooseRun(asked.get("run") || String(index.main));
    controls.order.value = "worst";
  }

  async function start() {
    try {
      if (!index) {
        index = await unpack("samples-index");
        fillControls();
        listen();
      }
      readAddress();
      await search();
    } catch (error) {
      status.textContent = `The samples cannot be unpacked by this browser (${error.message}); a newer one can.`;
    }
  }

  function listen() {
    for (const [name, control] of Object.entries(controls)) {
      if (name !== "text") control.addEventListener("change", search);
    }
    let timer = 0;
    controls.text.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(search, 150);
    });
    const turn = (step) => () => {
      showPage(page + step);
      get("samples-title").scrollIntoView();
    };
    get("page-before").addEventListener("click", turn(-1));
    get("page-after").addEventListener("click", turn(1));
  }

  document.addEventListener("section", ({ detail }) => {
    if (detail === "samples") start();
  });
})();
