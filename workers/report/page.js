// The photographs of a report: filters, overlays, a large view. Everything comes from the element #cards, and every
// text enters the document as text. Nothing is loaded, stored or sent.
"use strict";
(() => {
  const PAGE = 48;
  const COLOURS = {
    // red, green, blue at the least and at the most; the opacity at the most
    person: [[0, 150, 170], [0, 225, 215], 0.7],
    evidence: [[255, 90, 0], [255, 232, 60], 0.85],
    activity: [[120, 60, 255], [255, 120, 225], 0.8],
  };
  const byId = (id) => document.getElementById(id);

  function make(name, properties = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key in node) node[key] = value;
      else node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
  }

  const figure = (value, digits = 2) => (value === null ? "–" : value.toFixed(digits));

  // ---- theme: the system's, until somebody chooses
  const theme = byId("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  });

  // ---- tables that can be sorted by their headings
  for (const table of document.querySelectorAll("table.sortable")) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      if (!heading.textContent) return;
      const button = make("button", { type: "button", className: "sort" }, heading.textContent);
      heading.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = heading.getAttribute("aria-sort") !== "descending";
        headings.forEach((each) => each.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          const order = x === "" || y === "" ? (x === "") - (y === "") : Number.isNaN(Number(x)) ? x.localeCompare(y) : x - y;
          return x === "" || y === "" || !down ? order : -order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  const source = byId("cards");
  if (!source) return;
  const cards = JSON.parse(source.textContent);
  const gallery = byId("gallery");
  const form = byId("filters");
  const panels = gallery.dataset.mode === "panels";
  form.hidden = false;

  // ---- one photograph with layers
  function layer(map) {
    const canvas = make("canvas", { width: map.w, height: map.h, className: "map" });
    canvas.setAttribute("aria-hidden", "true");
    const cells = Uint8Array.from(atob(map.cells), (letter) => letter.charCodeAt(0));
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(map.w, map.h);
    const [low, high, opacity] = COLOURS[map.kind];
    cells.forEach((cell, index) => {
      const share = cell / 255;
      for (let c = 0; c < 3; c++) pixels.data[4 * index + c] = low[c] + (high[c] - low[c]) * share;
      pixels.data[4 * index + 3] = 255 * opacity * share;
    });
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function boxes(card) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "boxes");
    svg.setAttribute("viewBox", "0 0 1 1");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    for (const [x0, y0, x1, y1] of card.boxes) {
      const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [name, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0 })) {
        box.setAttribute(name, value);
      }
      svg.append(box);
    }
    return svg;
  }

  function picture(card, shown, withBoxes = false) {
    const frame = make("span", { className: "frame" });
    if (!card.photograph) {
      frame.classList.add("absent");
      frame.append(make("span", {}, card.trouble || "no photograph"));
      return frame;
    }
    const [src, width, height] = card.photograph;
    const sheet = make("span", { className: "sheet" });
    sheet.style.aspectRatio = `${width} / ${height}`;
    sheet.style[width < height ? "height" : "width"] = "100%";
    sheet.append(make("img", { src, width, height, alt: "", decoding: "async" }));
    sheet.append(...card.maps.filter((map) => shown.includes(map.name)).map(layer));
    if (withBoxes && card.boxes.length) sheet.append(boxes(card));
    frame.append(sheet);
    return frame;
  }

  const key = (card) => make("bdi", { className: "key", title: card.key }, card.key);

  function judgement(card) {
    return card.verdict ? make("span", { className: `chip ${card.verdict}` }, card.verdict.replace("_", " ")) : "";
  }

  function tile(card, shown) {
    const open = make("button", { type: "button", className: "card" });
    open.append(
      picture(card, shown),
      make("span", { className: "label" }, make("bdi", {}, card.label || "–"), judgement(card)),
      make("span", { className: "numbers" }, make("span", {}, `confidence ${figure(card.confidence)}`), make("span", {}, `focus ${figure(card.focus)}`)),
      key(card),
    );
    open.addEventListener("click", () => enlarge(card));
    return make("li", {}, open);
  }

  function row(card) {
    const strip = make("div", { className: "strip-of-maps" });
    const add = (name, node) => strip.append(make("figure", {}, node, make("figcaption", {}, name)));
    add(card.boxes.length ? "photograph, boxes" : "photograph", picture(card, [], true));
    for (const map of card.maps) add(map.name, picture(card, [map.name]));
    const words = make("div", { className: "words" });
    const chip = ([name, right]) => make("span", { className: `chip ${right ? "accept" : "wrong"}` }, `${name} ${right ? "right" : "wrong"}`.trim());
    words.append(make("p", { className: "label" }, make("bdi", {}, card.truth), ...card.right.map(chip)));
    words.append(facts(card.facts), key(card));
    return make("li", { tabIndex: -1 }, words, strip);
  }

  function facts(pairs) {
    const list = make("dl");
    for (const [name, value] of pairs) list.append(make("dt", {}, name), make("dd", {}, make("bdi", {}, value)));
    return list;
  }

  // ---- the large view
  const dialog = byId("large");
  let shownCards = [];
  let current = 0;

  function enlarge(card) {
    current = shownCards.indexOf(card);
    const strip = make("div", { className: "strip-of-maps" });
    const add = (name, node) => strip.append(make("figure", {}, node, make("figcaption", {}, name)));
    add("photograph", picture(card, [], true));
    for (const map of card.maps) add(map.name, picture(card, [map.name]));
    const scores = make("table", { className: "bars" });
    scores.append(make("caption", {}, "likeliest labels"));
    for (const [name, score] of card.labels) {
      const meter = make("meter", { min: 0, max: 1, value: score ?? 0, ariaHidden: "true" });
      scores.append(make("tr", {}, make("th", { scope: "row" }, make("bdi", {}, name)), make("td", {}, meter), make("td", { className: "number" }, figure(score, 3))));
    }
    const all = [["confidence", figure(card.confidence, 3)], ["focus", figure(card.focus, 3)]];
    if (card.verdict) all.push(["verdict", card.verdict.replace("_", " ")]);
    if (card.truth !== null) all.push(["right label", card.truth]);
    all.push(["chosen as", card.groups.join(", ")]);
    byId("large-title").replaceChildren(make("bdi", {}, card.label || "–"));
    byId("large-key").replaceChildren(key(card));
    byId("large-body").replaceChildren(strip, make("div", { className: "columns" }, scores, facts([...all, ...card.facts])));
    byId("large-place").textContent = `${current + 1} of ${shownCards.length}`;
    if (!dialog.open) dialog.showModal();
  }

  function step(by) {
    const next = current + by;
    if (next >= 0 && next < shownCards.length) enlarge(shownCards[next]);
  }

  byId("large-close").addEventListener("click", () => dialog.close());
  byId("large-previous").addEventListener("click", () => step(-1));
  byId("large-next").addEventListener("click", () => step(1));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });

  // ---- filters
  const ORDERS = {
    chosen: null,
    "confidence-down": (a, b) => (b.confidence ?? -1) - (a.confidence ?? -1),
    "confidence-up": (a, b) => (a.confidence ?? 2) - (b.confidence ?? 2),
    "focus-down": (a, b) => (b.focus ?? -1) - (a.focus ?? -1),
    "focus-up": (a, b) => (a.focus ?? 2) - (b.focus ?? 2),
    key: (a, b) => (a.key < b.key ? -1 : 1),
  };
  let limit = PAGE;

  function wanted(card, ask) {
    return (
      (!ask.group || card.groups.includes(ask.group)) &&
      (!ask.label || card.label === ask.label || card.truth === ask.label) &&
      (!ask.verdict || card.verdict === ask.verdict) &&
      (!ask.search || card.key.toLowerCase().includes(ask.search.toLowerCase()))
    );
  }

  function layers(ask) {
    return ask.layer ? ask.layer.split("+") : [];
  }

  function draw() {
    const ask = Object.fromEntries(new FormData(form));
    shownCards = cards.filter((card) => wanted(card, ask));
    if (ORDERS[ask.order]) shownCards.sort(ORDERS[ask.order]);
    const visible = shownCards.slice(0, limit);
    gallery.replaceChildren(...visible.map((card) => (panels ? row(card) : tile(card, layers(ask)))));
    byId("found").textContent =
      shownCards.length === cards.length ? `${cards.length} photographs` : `${shownCards.length} of ${cards.length} photographs`;
    byId("nothing").hidden = shownCards.length > 0;
    byId("more").hidden = shownCards.length <= limit;
    byId("more").textContent = `Show more (${Math.max(0, shownCards.length - limit)} left)`;
  }

  form.addEventListener("input", () => {
    limit = PAGE;
    draw();
  });
  form.addEventListener("reset", () => setTimeout(() => { limit = PAGE; draw(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => {
    const first = limit;
    limit += PAGE;
    draw();
    const next = gallery.children[first];
    (next.querySelector("button") ?? next).focus();
  });
  // A click on a class in a table shows its photographs.
  for (const link of document.querySelectorAll("a[data-label]")) {
    link.addEventListener("click", () => {
      form.elements.label.value = link.dataset.label;
      limit = PAGE;
      draw();
    });
  }
  draw();
})();
