"use strict";
(() => {
  // A colour for each contour, apart from each other for the colour-blind too (of Okabe and Ito, but
  // for their yellow, which is that of the voxels in question).
  const COLOURS = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#a6e22e", "#ffffff", "#0072b2"];
  const REGION = "in question";
  // So many cases are printed; a filter of the table says which.
  const MOST_PRINTED = 60;
  const SVG = "http://www.w3.org/2000/svg";
  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Everything from the report is set as text, never as markup.
  const make = (tag, attributes = {}, ...children) => {
    const svg = ["svg", "image", "path", "title"].includes(tag);
    const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const store = {
    read(name) {
      try { return JSON.parse(localStorage.getItem(`noisyjax-${document.body.dataset.key}-${name}`)); }
      catch { return null; }
    },
    write(name, value) {
      // A browser may keep nothing for files.
      try { localStorage.setItem(`noisyjax-${document.body.dataset.key}-${name}`, JSON.stringify(value)); }
      catch { /* Then the export keeps it. */ }
    },
  };

  // ---- Cases: the text of each is read when it is asked for.
  const texts = all("script.case");
  const names = new Map();
  const read = new Map();
  const load = (number) => {
    if (!read.has(number)) read.set(number, JSON.parse(texts[number].textContent));
    return read.get(number);
  };
  // The name stands at the beginning, so that this is quick.
  texts.forEach((element, number) => {
    const start = element.textContent.slice(0, 8192).match(/^\{"name":("(?:[^"\\]|\\.)*")/);
    names.set(start ? JSON.parse(start[1]) : load(number).name, number);
  });

  // ---- Tables: rows know their case and rater.
  const tables = all("#tables table").map((table) => {
    const heads = all("th[data-name]", table);
    const column = (name) => heads.findIndex((head) => head.dataset.name === name);
    const [ofCase, ofRater] = [column("case"), column("rater")];
    const rows = all("tbody tr", table).map((row) => {
      const value = (number) => (number < 0 ? "" : row.cells[number].dataset.value);
      return { row, name: value(ofCase), rater: value(ofRater), text: row.textContent.toLowerCase() };
    });
    return { table, heads, rows, ofCase, section: table.closest("section") };
  });
  const ranked = tables.find((table) => table.ofCase >= 0);

  const sort = (table, number) => {
    const head = table.heads[number];
    const up = head.getAttribute("aria-sort") !== "ascending";
    table.heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const numeric = head.classList.contains("number");
    const compare = (one, other) => {
      const [a, b] = [one, other].map((entry) => entry.row.cells[number].dataset.value);
      // What is missing comes last either way.
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = numeric ? Number(a.replace("inf", "Infinity")) - Number(b.replace("inf", "Infinity"))
        : a.localeCompare(b, undefined, { numeric: true });
      return up ? order : -order;
    };
    table.rows.sort(compare);
    find("tbody", table.table).append(...table.rows.map((entry) => entry.row));
    place();
  };

  const filter = (table) => {
    const words = find(".filter", table.section).value.toLowerCase().split(/\s+/);
    const chosen = all("select[data-column]", table.section).filter((select) => select.value);
    const decided = find("select.decided", table.section)?.value;
    for (const entry of table.rows) {
      const fits = words.every((word) => entry.text.includes(word))
        && chosen.every((select) => entry.row.cells[select.dataset.column].dataset.value === select.value)
        && (!decided || decided === (decisions.get(key(entry.name, entry.rater))?.decision ?? "undecided"));
      entry.row.hidden = !fits;
    }
    const count = table.rows.filter((entry) => !entry.row.hidden).length;
    find(".shown", table.section).textContent = `${count} of ${table.rows.length} rows`;
    place();
  };

  // ---- Decisions: of a case, or of a rater's label of it.
  const bar = find("#decisions");
  const words = bar ? bar.dataset.words.split(" ") : [];
  const key = (name, rater) => JSON.stringify([name, rater]);
  const decisions = new Map(bar ? store.read("decisions") ?? [] : []);
  const controls = new Map();

  const showDecision = (id) => {
    const { decision = "", weight = "" } = decisions.get(id) ?? {};
    for (const { select, input } of controls.get(id) ?? []) {
      select.value = decision;
      input.hidden = decision !== "weight";
      if (input.value !== String(weight)) input.value = weight;
    }
  };

  const count = () => {
    const asked = new Set(tables[0].rows.map((entry) => key(entry.name, entry.rater)));
    const done = [...asked].filter((id) => decisions.has(id)).length;
    find("#count").textContent = `${done} of ${asked.size} decided`;
  };

  const decide = (id, decision, weight) => {
    if (decision) decisions.set(id, { decision, weight: decision === "weight" ? weight : "" });
    else decisions.delete(id);
    showDecision(id);
    store.write("decisions", [...decisions]);
    count();
  };

  const control = (name, rater) => {
    const id = key(name, rater);
    const about = rater ? `${name}, ${rater}` : name;
    const select = make("select", { "aria-label": `Decision on ${about}` },
      make("option", { value: "" }, "undecided"), ...words.map((word) => make("option", { value: word }, word)));
    const input = make("input", { type: "number", min: "0", step: "any", "aria-label": `Weight of ${about}` });
    select.addEventListener("change", () => decide(id, select.value, input.value || "0.5"));
    input.addEventListener("change", () => decide(id, "weight", Number(input.value) >= 0 && input.value ? input.value : "0.5"));
    // Of panels that are gone.
    const living = (controls.get(id) ?? []).filter((one) => one.select.isConnected);
    controls.set(id, [...living, { select, input }]);
    showDecision(id);
    return [select, input];
  };

  const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const toCsv = () => {
    const lines = ["case,rater,decision,weight"];
    for (const { name, rater } of tables[0].rows) {
      const made = decisions.get(key(name, rater));
      if (made) lines.push([name, rater, made.decision, made.weight].map((cell) => quote(String(cell))).join(","));
    }
    return [...new Set(lines)].join("\n") + "\n";
  };

  const fromCsv = (text) => {
    const rows = [[]];
    for (const [, quoted, plain, end] of text.replace(/^\ufeff/, "").matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g)) {
      rows.at(-1).push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
      if (end === "") break;
      if (end !== ",") rows.push([]);
    }
    return rows.filter((row) => row.length > 1);
  };

  const take = (text) => {
    const [head, ...rows] = fromCsv(text);
    const message = find("#message");
    if (head?.join() !== "case,rater,decision,weight") {
      message.textContent = "Expected a file with the columns case,rater,decision,weight.";
      return;
    }
    const known = new Set(tables[0].rows.map((entry) => key(entry.name, entry.rater)));
    let others = 0;
    for (const [name, rater, decision, weight] of rows) {
      if (known.has(key(name, rater)) && words.includes(decision)) decide(key(name, rater), decision, weight);
      else others += 1;
    }
    message.textContent = `${rows.length - others} loaded` + (others ? `, ${others} of other cases or words left out` : "");
  };

  // ---- The viewer.
  const outlines = JSON.parse(document.body.dataset.outlines);
  const hidden = new Set(store.read("hidden") ?? []);
  const colour = (name) => COLOURS[outlines.indexOf(name) % COLOURS.length];
  const swatch = (shade) => {
    const element = make("span", { class: "swatch" });
    element.style.background = shade;
    return element;
  };

  const picture = (name, view) => {
    const about = `${name}: ${view.title || "the image"} with contours`;
    const svg = make("svg", { viewBox: `0 0 ${view.width} ${view.height}`, role: "img", "aria-label": about },
      make("image", { href: `data:image/jpeg;base64,${view.picture}`, width: view.width, height: view.height, preserveAspectRatio: "none" }));
    if (view.region) svg.append(make("path", { d: view.region, class: "region", "data-name": REGION }));
    for (const [label, d] of Object.entries(view.outlines)) {
      const line = make("path", { d, class: "outline", stroke: colour(label), "data-name": label });
      // When there are more than colours.
      if (outlines.indexOf(label) >= COLOURS.length) line.setAttribute("stroke-dasharray", "5 3");
      svg.append(line);
    }
    return make("figure", {}, svg, make("figcaption", {}, view.title));
  };

  const facts = (pairs) => make("dl", {}, ...pairs.map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value))));

  const panel = (number) => {
    const made = load(number);
    const parts = [make("h2", {}, made.name)];
    if (Object.keys(made.facts).length) parts.push(facts(Object.entries(made.facts)));
    for (const { row, rater } of ranked?.rows.filter((entry) => entry.name === made.name) ?? []) {
      const pairs = ranked.heads.map((head, i) => [head.textContent.trim(), row.cells[i].textContent]);
      const own = make("div", { class: "own" }, facts(pairs.filter((_, i) => i !== ranked.ofCase)));
      if (bar && ranked === tables[0]) own.append(make("div", { class: "decision" }, "Decision: ", ...control(made.name, rater)));
      parts.push(own);
    }
    parts.push(make("div", { class: "views" }, ...made.views.map((view) => picture(made.name, view))));
    return parts;
  };

  const hide = () => all("path[data-name]").forEach((path) => {
    path.style.display = hidden.has(path.dataset.name) ? "none" : "";
  });

  const legend = (number) => {
    const views = load(number).views;
    const labels = [...new Set(views.flatMap((view) => Object.keys(view.outlines)))];
    const entries = labels.map((label) => [label, colour(label)]);
    if (views.some((view) => view.region)) entries.push([REGION, "#ffe14d"]);
    find("#legend").replaceChildren(...entries.map(([label, shade]) => {
      const box = make("input", { type: "checkbox" });
      box.checked = !hidden.has(label);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(label); else hidden.add(label);
        store.write("hidden", [...hidden]);
        hide();
      });
      return make("label", {}, box, swatch(shade), label);
    }));
  };

  let opened = null;
  // The cases with pictures in the order of the table, those of other tables behind them.
  const order = () => {
    const listed = (ranked?.rows ?? []).filter((entry) => !entry.row.hidden).map((entry) => entry.name);
    return [...new Set(listed)].filter((name) => names.has(name));
  };

  function place() {
    if (opened === null) return;
    const listed = order();
    const at = listed.indexOf(opened);
    find("#position").textContent = at < 0 ? "not among the rows shown" : `${at + 1} of ${listed.length}`;
    find("#previous").disabled = at === 0 || !listed.length;
    find("#next").disabled = at === listed.length - 1;
  }

  const open = (name, { move = true } = {}) => {
    if (!names.has(name)) return;
    opened = name;
    find("#case").className = "case";
    find("#case").replaceChildren(...panel(names.get(name)));
    legend(names.get(name));
    hide();
    for (const { rows } of tables) {
      for (const entry of rows) entry.row.classList.toggle("open", entry.name === name);
    }
    place();
    if (move) find("#viewer").scrollIntoView({ block: "nearest" });
  };

  const step = (by) => {
    const listed = order();
    const at = listed.indexOf(opened);
    const next = listed[at < 0 ? 0 : at + by];
    if (next === undefined) return;
    open(next, { move: false });
    ranked.rows.find((entry) => entry.name === next)?.row.scrollIntoView({ block: "nearest" });
  };

  // ---- What listens.
  for (const table of tables) {
    table.heads.forEach((head, number) => find("button", head).addEventListener("click", () => sort(table, number)));
    for (const input of all(".filters input, .filters select", table.section)) {
      for (const event of ["input", "change"]) input.addEventListener(event, () => filter(table));
    }
    for (const { row, name, rater } of table.rows) {
      if (names.has(name) && table.ofCase >= 0) {
        const link = make("a", { href: "#viewer" }, name);
        row.cells[table.ofCase].replaceChildren(link);
        row.addEventListener("click", (event) => {
          if (event.target.closest("select, input")) return;
          if (event.target === link) event.preventDefault();
          open(name);
        });
      }
      if (bar && table === tables[0]) find(".decision", row).append(...control(name, rater));
    }
    filter(table);
  }
  if (bar) {
    count();
    find("#export").addEventListener("click", () => {
      const url = URL.createObjectURL(new Blob([toCsv()], { type: "text/csv" }));
      make("a", { href: url, download: "decisions.csv" }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    });
    find("#load").addEventListener("change", async (event) => {
      const [file] = event.target.files;
      if (file) take(await file.text());
      // The same file may be loaded again.
      event.target.value = "";
    });
  }
  if (texts.length) {
    find("#previous").addEventListener("click", () => step(-1));
    find("#next").addEventListener("click", () => step(1));
    document.addEventListener("keydown", (event) => {
      if (event.target.closest("input, select, .scroll") || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    window.addEventListener("beforeprint", () => {
      const listed = order();
      const parts = listed.slice(0, MOST_PRINTED).map((name) => make("article", { class: "case" }, ...panel(names.get(name))));
      const shown = outlines.map((name) => make("span", {}, swatch(colour(name)), ` ${name}`));
      const left = listed.length - parts.length;
      find("#printed").replaceChildren(make("div", { class: "bar" }, ...shown), ...parts,
        ...(left > 0 ? [make("p", {}, `${left} more cases are in the file; a filter of the table says which are printed.`)] : []));
      hide();
    });
    window.addEventListener("afterprint", () => find("#printed").replaceChildren());
    const [first = names.keys().next().value] = order();
    open(first, { move: false });
  }
})();
