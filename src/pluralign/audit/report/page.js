"use strict";
(() => {
  const tip = document.getElementById("tip");
  const gap = 10;
  let active = null;

  const hide = () => {
    if (active) active.classList.remove("on");
    active = null;
    tip.hidden = true;
  };

  const show = (mark) => {
    if (mark === active) return;
    hide();
    active = mark;
    mark.classList.add("on");
    tip.replaceChildren(...mark.said.split("\n").map((text) => {
      const part = document.createElement("span");
      part.textContent = text;
      return part;
    }));
    tip.hidden = false;
    place(mark);
  };

  const place = (mark) => {
    const box = (mark.querySelector(".dot, .pointer") || mark).getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const left = box.left + box.width / 2 - size.width / 2;
    const above = box.top - size.height - gap;
    tip.style.left = `${Math.max(12, Math.min(left, innerWidth - size.width - 12))}px`;
    tip.style.top = `${above > 8 ? above : Math.min(box.bottom + gap, innerHeight - size.height - 8)}px`;
  };

  // The titles inside the drawings serve pages without a script; here they would show twice.
  const takeTitle = (node) => {
    const title = node.querySelector(":scope > title");
    node.said = title ? title.textContent : "";
    if (title) title.remove();
  };

  const marksOf = (plot) =>
    [...plot.querySelectorAll(".mark")].filter((mark) => mark.getClientRects().length);

  const step = (plot, key) => {
    const marks = marksOf(plot);
    const now = marks.indexOf(active);
    const moves = { ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1, Home: 0, End: marks.length - 1 };
    if (!(key in moves) || !marks.length) return false;
    const mark = marks[Math.max(0, Math.min(moves[key], marks.length - 1))];
    const box = mark.getBoundingClientRect();
    if (box.top < 0 || box.bottom > innerHeight) mark.scrollIntoView({ block: "center" });
    show(mark);
    return true;
  };

  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  const drawingOf = (figure) => {
    const source = figure.querySelector(".drawing.wide");
    const copy = source.cloneNode(true);
    const made = (tag, text) => {
      const node = document.createElementNS(copy.namespaceURI, tag);
      node.textContent = text;
      return node;
    };
    const marks = source.querySelectorAll(".mark");
    copy.querySelectorAll(".mark").forEach((mark, place) => mark.prepend(made("title", marks[place].said)));
    const css = document.getElementById("figure-style").textContent;
    const palette = new Map([...css.matchAll(/(--[\w-]+):\s*([^;]+);/g)].map((found) => [found[1], found[2]]));
    const paper = made("rect", "");
    Object.entries({ width: "100%", height: "100%", fill: palette.get("--paper") })
      .forEach(([key, value]) => paper.setAttribute(key, value));
    const resolved = css.replace(/:root\s*{[^}]*}/, "").replace(/var\((--[\w-]+)\)/g, (_, key) => palette.get(key));
    copy.prepend(made("title", source.said), made("style", resolved), paper);
    copy.removeAttribute("aria-label");
    return new XMLSerializer().serializeToString(copy);
  };

  const field = (cell) => {
    const raw = cell.dataset.raw;
    const text = raw === undefined ? cell.textContent : raw;
    // Spreadsheets run cells that begin like a formula.
    const safe = raw === undefined && /^[=+\-@\t]/.test(text) ? `'${text}` : text;
    const missing = raw === undefined && cell.classList.contains("number") && cell.tagName === "TD";
    return missing ? "" : `"${safe.replaceAll('"', '""')}"`;
  };

  const dataOf = (figure) =>
    [...figure.querySelectorAll("tr")].map((row) => [...row.cells].map(field).join(",")).join("\r\n") + "\r\n";

  for (const figure of document.querySelectorAll("figure")) {
    const plot = figure.querySelector(".plot");
    for (const drawing of plot.querySelectorAll(".drawing")) {
      drawing.querySelectorAll(".mark").forEach(takeTitle);
      takeTitle(drawing);
      drawing.setAttribute("aria-label", drawing.said);
      drawing.removeAttribute("aria-labelledby");
    }
    plot.tabIndex = 0;
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", `${figure.querySelector("h3").textContent}. Arrow keys read the values.`);
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") hide();
      else if (step(plot, event.key)) event.preventDefault();
    });
    plot.addEventListener("blur", hide);
    plot.addEventListener("pointerover", (event) => {
      const mark = event.target.closest(".mark");
      if (mark) show(mark);
      else if (event.pointerType === "mouse") hide();
    });
    plot.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
    figure.querySelector(".save").hidden = false;
    figure.querySelector("[data-save=svg]").addEventListener("click", () =>
      save(`${figure.id}.svg`, "image/svg+xml", drawingOf(figure)));
    figure.querySelector("[data-save=csv]").addEventListener("click", () =>
      save(`${figure.id}.csv`, "text/csv", "\ufeff" + dataOf(figure)));
  }
  addEventListener("scroll", () => active && place(active), { passive: true });
  addEventListener("pointerdown", (event) => { if (!event.target.closest(".plot")) hide(); });
})();
