"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);

  /** An element with its text and children; texts are never read as HTML. */
  const make = (tag, className, ...children) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  };

  // ---------------------------------------------------------------- figures
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  const touch = matchMedia("(pointer: coarse)");

  const unpack = async (packed) => {
    const raw = atob(packed);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };

  /** A copy of a figure with the colours of a dark screen. */
  const darkened = (value) => {
    if (typeof value === "string") return data.dark[value] ?? value;
    if (Array.isArray(value)) return value.map(darkened);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, darkened(item)]));
  };

  const draw = (isDark) => {
    for (const place of document.querySelectorAll("[data-chart]")) {
      const spec = data.charts[place.dataset.chart];
      const figure = isDark ? darkened(spec) : structuredClone(spec);
      const entries = figure.data.filter((trace) => trace.name && trace.showlegend !== false).length;
      const more = narrow.matches ? 14 * Math.max(0, entries - 5) : 0;  // a long legend takes no room from the figure
      place.style.height = `calc(var(--height) + ${more}px)`;
      if (narrow.matches) {
        figure.layout.font.size = 11;
        figure.layout.margin = { ...figure.layout.margin, l: 46, r: 8 };
      }
      if (touch.matches || narrow.matches) figure.layout.dragmode = false;
      window.Plotly.react(place, figure.data, figure.layout, {
        responsive: true,
        displaylogo: false,
        displayModeBar: touch.matches || narrow.matches ? false : "hover",
        modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
      });
    }
    document.body.dataset.drawn = isDark ? "dark" : "light";
  };

  const figures = async () => {
    const script = document.createElement("script");
    script.textContent = await unpack(byId("plotly").textContent);
    document.head.append(script);
    draw(dark.matches);
    for (const change of [dark, narrow]) change.addEventListener("change", () => draw(dark.matches));
    window.addEventListener("beforeprint", () => draw(false));
    window.addEventListener("afterprint", () => draw(dark.matches));
  };

  // -------------------------------------------------------------- questions
  const PAGE = 20;
  const NAMES = { litestage: "plan", "litestage without exit": "plan without exit" };
  const KINDS = ["", "ins", "del"];

  const browser = (answers) => {
    const names = answers.methods.map((name) => NAMES[name] ?? name);
    const questions = answers.questions;
    let page = 0;

    const words = (question) =>
      question.outputs.flatMap((output) =>
        output.cells.flatMap((cell) => (cell?.pieces ? cell.pieces.map((piece) => piece[1]) : (cell?.text ?? [])))
      );
    const searched = questions.map((question) =>
      [question.id, question.text, ...question.options.flat(), ...words(question)].join("\n").toLowerCase()
    );
    const answersDiffer = (question) => new Set(question.answers).size > 1;
    const textsDiffer = (question) => question.outputs.some((output) => output.cells.some((cell) => cell?.pieces));

    const wrong = byId("filter-wrong");
    names.forEach((name, number) => wrong.append(new Option(`wrong: ${name}`, String(number))));

    const chip = (name, answer, gold) => {
      const state = gold === null ? "" : answer === gold ? "right" : "wrong";
      return make("span", state, `${name}: ${answer ?? "none"}${state ? (state === "right" ? " ✓" : " ✗") : ""}`);
    };

    const textOf = (cell, first) => {
      if (!cell.pieces) return [cell.text ?? first.text];
      return cell.pieces.flatMap(([kind, text]) => [KINDS[kind] ? make(KINDS[kind], "", text) : text, " "]);
    };

    const stageOf = (question, output) => {
      const option = question.options.find(([label]) => label === output.option);
      const title = output.stage + (output.option ? `, option ${output.option}${option ? `: ${option[1]}` : ""}` : "");
      const texts = make("dl", "texts");
      output.cells.forEach((cell, number) => {
        if (!cell) return;
        const same = number > 0 && !cell.pieces && cell.text === undefined;
        const first = output.cells[0];
        const equal = same && cell.tokens === first.tokens && cell.stop === first.stop;
        const work = `${cell.tokens} tokens, ${data.stops[cell.stop] ?? cell.stop}`;
        texts.append(
          make(
            "div",
            `${same ? "same" : ""} ${equal ? "equal" : ""}`.trim(),
            make("dt", "", names[number] + (same ? ": the same text" : "")),
            make("dd", "", ...textOf(cell, first)),
            make("dd", "work", work)
          )
        );
      });
      return [make("h4", "", title), texts];
    };

    const bodyOf = (question) => {
      const options = question.options.map(([label, text]) =>
        make("li", "", `(${label}) ${text}${label === question.gold ? " (the right answer)" : ""}`)
      );
      const outputs = question.outputs.flatMap((output) => stageOf(question, output));
      return make("div", "body", make("ul", "options", ...options), ...outputs);
    };

    const itemOf = (question) => {
      const chips = make("span", "chips", make("span", "", `right answer: ${question.gold ?? "unknown"}`));
      question.answers.forEach((answer, number) => chips.append(chip(names[number], answer, question.gold), " "));
      const details = make("details", "", make("summary", "", make("h3", "", question.text), chips));
      details.addEventListener("toggle", () => {
        if (details.open && details.children.length === 1) details.append(bodyOf(question));
      });
      return make("li", "", details);
    };

    const matching = () => {
      const text = byId("filter-text").value.trim().toLowerCase();
      return questions.filter(
        (question, number) =>
          (!text || searched[number].includes(text)) &&
          (!byId("filter-answers").checked || answersDiffer(question)) &&
          (!byId("filter-texts").checked || textsDiffer(question)) &&
          (wrong.value === "" || question.answers[Number(wrong.value)] !== question.gold)
      );
    };

    const show = () => {
      const found = matching();
      const pages = Math.max(1, Math.ceil(found.length / PAGE));
      page = Math.min(page, pages - 1);
      const start = page * PAGE;
      const end = Math.min(start + PAGE, found.length);
      byId("list").replaceChildren(...found.slice(start, end).map(itemOf));
      const range = found.length > PAGE ? `; this is ${start + 1} to ${end}` : "";
      byId("count").textContent = `${found.length} of ${questions.length} questions match${range}.`;
      byId("previous").disabled = page === 0;
      byId("next").disabled = page >= pages - 1;
    };

    const turn = (by) => {
      page += by;
      show();
      byId("count").scrollIntoView({ block: "start" });
    };

    const filters = byId("filters");
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("input", () => {
      page = 0;
      show();
    });
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    show();
  };

  if (data.answers) browser(data.answers);
  figures().catch((error) => {
    byId("figures-note").hidden = false;
    console.error(error);
  });
})();
