"use strict";
// In: the JSON in #data (nodes, views, phases) and the packed texts in #texts.  Out: drawings, panes, searches.
// What always holds: nothing is fetched; text from the model enters the page as text, never as HTML.
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (q, at = document) => at.querySelector(q), $$ = (q, at = document) => [...at.querySelectorAll(q)];
const SVG = "http://www.w3.org/2000/svg";
document.documentElement.classList.add("js");

function el(tag, attrs = {}, ...kids) {
  const e = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [k, v] of Object.entries(attrs)) k.startsWith("on") ? e.addEventListener(k.slice(2),
    v) : e.setAttribute(k, v);
  e.append(...kids);
  return e;
}

// ---------------------------------------------------------------- packed texts
let unpacked;
function texts() {
  if (!unpacked) unpacked = (async () => {
    if (!window.DecompressionStream) return null;
    const raw = Uint8Array.from(atob($("#texts").textContent), c => c.charCodeAt(0));
    return new Response(new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
  })();
  return unpacked;
}
async function fill(pre, key) {
  const all = await texts();
  pre.textContent = all ? all[key]
    : "This browser cannot unpack texts (it has no DecompressionStream); any of 2023 or later can.";
}
for (const pre of $$("pre[data-text]"))
  pre.closest("details").addEventListener("toggle", e => { if (e.target.open && !pre.textContent) fill(pre,
    pre.dataset.text); });

// ---------------------------------------------------------------- colours
const colour = hue => `--h:${hue};--s:${hue < 0 ? 0 : 62}%`;

// ---------------------------------------------------------------- one pane: a stage drawn, or as text
class Pane {
  constructor(explorer, stage) {
    this.explorer = explorer;
    this.svg = el("svg:svg", { class: "graph", tabindex: 0 });
    this.pre = el("pre");
    this.bar = el("div");
    this.root = el("div", { class: "pane" }, this.bar, this.svg, this.pre);
    this.asText = false;
    this.events();
    this.show(stage);
  }
  get info() { return this.explorer.phase.stages[this.stage]; }
  show(stage) {
    this.stage = stage;
    const stages = this.explorer.phase.stages;
    this.bar.replaceChildren(...stages.map((s, i) => el("button", {
      class: (i === stage ? "on " : "") + (s.same ? "same" : ""), onclick: () => this.show(i),
      title: s.same ? "this pass changed nothing" : i ? `after the pass ${s.name}` : "as the model was captured" },
        s.name)));
    const text = this.asText || this.info.view < 0;
    this.bar.append(el("span", { class: "right" },
      el("button", { onclick: () => { this.asText = !this.asText; this.show(this.stage); },
        class: text ? "on" : "" }, "text"),
      ...(text ? [] : [el("button", { onclick: () => this.zoom(1.3) }, "+"), el("button",
        { onclick: () => this.zoom(1 / 1.3) }, "−"),
        el("button", { onclick: () => this.fit() }, "fit")])));
    this.svg.style.display = text ? "none" : "";
    this.pre.style.display = text ? "" : "none";
    if (text) fill(this.pre, this.info.text); else this.draw();
  }
  marks() {
    const set = i => i >= 0 && i < this.explorer.phase.stages.length && this.explorer.phase.stages[i].view >= 0
      && !D.views[this.explorer.phase.stages[i].view].boxes.length
      ? new Set(D.views[this.explorer.phase.stages[i].view].nodes.map(n => n[0])) : null;
    return D.views[this.info.view].boxes.length ? [null, null] : [set(this.stage - 1), set(this.stage + 1)];
  }
  draw() {
    const v = D.views[this.info.view];
    this.view = v;
    this.g = el("svg:g");
    for (const [id, x, y, w, h, title, kernel] of v.boxes) {
      this.g.append(el("svg:g", { class: "box", "data-id": id, onclick: e => this.pickBox(e, id, kernel, title) },
        el("svg:rect", { x, y, width: w, height: h }), el("svg:title", {}, title),
        el("svg:text", { x: x + 9, y: y + 16 }, title)));
    }
    this.edges = v.edges.map(([a, b, p]) => {
      const e = el("svg:path", { class: "edge", d: path(p) });
      this.g.append(e);
      return [a, b, e];
    });
    const [before, after] = this.marks();
    this.nodes = v.nodes.map((n, i) => {
      const [id, x, y, w, title, sub] = n, row = D.nodes[id];
      const cls = "node" + (row[1] === "leaf" ? " leaf" : "") + (before && !before.has(id) ? " new" : "")
        + (after && !after.has(id) ? " gone" : "");
      const g = el("svg:g", { class: cls, style: colour(D.layers[row[3]][1]), onclick: e => this.pick(e, i) },
        el("svg:rect", { x, y, width: w, height: 38 }), el("svg:text", { x: x + w / 2, y: y + 16 }, title),
        el("svg:text", { x: x + w / 2, y: y + 30 }, sub));
      this.g.append(g);
      return g;
    });
    this.svg.replaceChildren(this.g);
    this.fit();
    this.highlight();
  }
  fit() {
    const r = this.svg.getBoundingClientRect(), W = r.width || 760, H = r.height || 640;
    const all = Math.min((W - 30) / this.view.w, (H - 30) / this.view.h, 1.15);
    const s = this.s = all;
    this.tx = (W - this.view.w * s) / 2;
    this.ty = Math.max(15, (H - this.view.h * s) / 2);
    this.apply();
  }
  zoom(k, x, y) {
    const r = this.svg.getBoundingClientRect();
    x = x ?? r.width / 2; y = y ?? r.height / 2;
    const s = Math.min(4, Math.max(0.02, this.s * k));
    this.tx = x - (x - this.tx) * s / this.s;
    this.ty = y - (y - this.ty) * s / this.s;
    this.s = s;
    this.apply();
  }
  apply() {
    this.g.setAttribute("transform", `translate(${this.tx} ${this.ty}) scale(${this.s})`);
    this.svg.classList.toggle("far", this.s < 0.28);
    this.svg.classList.toggle("mid", this.s < 0.5);
  }
  events() {
    let last = null, moved = 0;
    this.svg.addEventListener("wheel", e => {
      if (!e.ctrlKey && document.activeElement !== this.svg) return;      // the page scrolls until a drawing is clicked
      e.preventDefault();
      const r = this.svg.getBoundingClientRect();
      this.zoom(Math.exp(-e.deltaY * 0.0016), e.clientX - r.left, e.clientY - r.top);
    }, { passive: false });
    this.svg.addEventListener("pointerdown", e => { last = [e.clientX,
      e.clientY]; moved = 0; this.svg.focus({ preventScroll: true }); });
    this.svg.addEventListener("pointermove", e => {
      if (!last || !(e.buttons & 1)) { last = null; this.svg.classList.remove("drag"); return; }
      const dx = e.clientX - last[0], dy = e.clientY - last[1];
      moved += Math.abs(dx) + Math.abs(dy);
      if (moved > 4) this.svg.classList.add("drag");
      this.tx += dx; this.ty += dy; last = [e.clientX, e.clientY];
      this.apply();
    });
    this.svg.addEventListener("pointerup", () => { last = null; this.svg.classList.remove("drag"); });
    this.svg.addEventListener("click", e => { this.wasDrag = moved > 4; }, true);
    this.svg.addEventListener("dblclick", e => {
      const r = this.svg.getBoundingClientRect();
      this.zoom(1.8, e.clientX - r.left, e.clientY - r.top);
    });
  }
  pick(e, i) {
    e.stopPropagation();
    if (this.wasDrag) return;
    const n = this.view.nodes[i];
    this.explorer.select({ id: n[0], text: n[6], kernel: n[7], stage: this.info.name });
  }
  pickBox(e, id, kernel, title) {
    if (this.wasDrag) return;
    this.explorer.select({ id, kernel, text: title, box: true, stage: this.info.name });
  }
  highlight() {
    if (!this.nodes || this.svg.style.display === "none") return;
    const { chosen, match } = this.explorer;
    let first = null;
    this.nodes.forEach((g, i) => {
      const sel = !!chosen && kin(this.view.nodes[i][0]) === kin(chosen.id);
      if (sel) first = first ?? i;
      g.classList.toggle("sel", sel);
      g.classList.toggle("hit", !!match && match(this.view.nodes[i]));
    });
    for (const b of $$(".box", this.g)) b.classList.toggle("sel", !!chosen && +b.dataset.id === chosen.id);
    for (const [a, b, e] of this.edges) e.classList.toggle("on", first !== null && (a === first || b === first));
    this.svg.classList.toggle("faded", !!match);
  }
  centre(id) {
    const n = this.view && this.view.nodes.find(n => kin(n[0]) === kin(id));
    if (!n || this.svg.style.display === "none") return;
    const r = this.svg.getBoundingClientRect();
    this.s = Math.max(this.s, 0.8);
    this.tx = r.width / 2 - (n[1] + n[3] / 2) * this.s;
    this.ty = r.height / 2 - (n[2] + 19) * this.s;
    this.apply();
  }
}

// The node that a node was rebuilt from, pass after pass.
const kin = id => D.nodes[id][6];

function path(p) {
  let d = `M${p[0]} ${p[1]}`;
  for (let i = 2; i < p.length; i += 2) {
    const m = (p[i - 1] + p[i + 1]) / 2;
    d += `C${p[i - 2]} ${m} ${p[i]} ${m} ${p[i]} ${p[i + 1]}`;
  }
  return d;
}

// ---------------------------------------------------------------- two panes, their details and legend
class Explorer {
  constructor(root, phase) {
    this.phase = phase;
    this.chosen = this.match = null;
    const drawn = phase.stages.map((s, i) => s.view >= 0 ? i : -1).filter(i => i >= 0);
    this.panes = [new Pane(this, drawn[0]), new Pane(this, drawn[drawn.length - 1])];
    this.box = el("div", { class: "panes" }, ...this.panes.map(p => p.root));
    this.detail = el("div", { class: "detail dim" }, "Click a node for its text, type, layer, line and kernel. "
      + "Drag to move; after a click the wheel zooms (Ctrl and wheel always does). Thick outlines are new in the pass, "
      + "dashed ones go in the next.");
    const search = el("input", { class: "filter", type: "search", placeholder: "find nodes: op, type, layer, name",
      size: 34,
      oninput: e => this.find(e.target.value) });
    this.count = el("span", { class: "dim" });
    const one = el("button", { onclick: () => { this.box.classList.toggle("single"); this.refit(); } },
      "one / two panes");
    root.replaceChildren(el("div", { class: "tools" }, search, this.count, one), this.box, this.legend(), this.detail);
  }
  refit() { for (const p of this.panes) if (p.info.view >= 0 && !p.asText) p.fit(); }
  legend() {
    const used = new Set();
    for (const s of this.phase.stages.filter(s => s.view >= 0))
      for (const n of D.views[s.view].nodes) used.add(D.nodes[n[0]][3]);
    return el("div", { class: "legend" }, ...[...used].sort((a, b) => a - b).map(i => el("button", {
      onclick: () => this.layer(i) }, el("i", { class: "swatch", style: colour(D.layers[i][1]) }), D.layers[i][0])));
  }
  layer(i) {
    const same = this.layerOn === i;
    this.layerOn = same ? null : i;
    this.match = same ? null : n => D.nodes[n[0]][3] === i;
    this.update();
  }
  find(text) {
    const t = text.toLowerCase();
    this.layerOn = null;
    this.match = t ? n => `${n[4]} ${n[6]} ${D.layers[D.nodes[n[0]][3]][0]}`.toLowerCase().includes(t) : null;
    this.update();
  }
  update() {
    for (const p of this.panes) p.highlight();
    const hits = this.match ? this.panes.map(p => p.view ? p.view.nodes.filter(this.match).length : 0) : null;
    this.count.textContent = hits ? `${hits[0]} left, ${hits[1]} right` : "";
  }
  select(c) {
    this.chosen = c;
    for (const p of this.panes) p.highlight();
    const [op, kind, type, layer, line, rule] = D.nodes[c.id], [where, code] = D.lines[line];
    const shows = s => s.view >= 0 && D.views[s.view].nodes.some(n => kin(n[0]) === kin(c.id));
    const alive = this.phase.stages.filter(shows).map(s => s.name);
    const rows = [["text", el("code", {}, c.text)], ["type", type], ["op", `${op} (${kind})`],
      ["layer", D.layers[layer][0]], ["your line", code ? el("span", {}, where + "   ", el("code", {}, code)) : where],
      ["rule", rule || "none: it is as you wrote it"], ["in", alive.join(", ")],
      ["kernel", c.kernel ? el("a", { href: "#" + c.kernel }, D.kernels[c.kernel]) : "not known: folded into others, rewritten or not computed"]];
    const dl = el("dl");
    for (const [k, v] of rows) if (v) dl.append(el("dt", {}, k), el("dd", {}, v));
    const go = el("button", { onclick: () => this.panes.forEach(p => p.centre(c.id)) }, "centre it in both panes");
    this.detail.className = "detail";
    this.detail.replaceChildren(el("b", {}, c.box ? c.text : op), " ", el("span", { class: "dim" },
      "in " + c.stage), " ", go, dl);
  }
}

// ---------------------------------------------------------------- tabs, jumps, searches
const explorers = {};
function phase(i) {
  for (const s of $$(".phase")) s.classList.toggle("on", +s.dataset.phase === i);
  for (const t of $$(".tab")) t.classList.toggle("on", +t.dataset.phase === i);
  if (!explorers[i]) explorers[i] = new Explorer($(`.explorer[data-phase="${i}"]`), D.phases[i]);
  explorers[i].refit();
  const heads = [...$$("[data-jump]", $(".phase.on")), ...$$("[data-jump]", $("#kernels"))];
  $(".jump").replaceChildren(...heads.map((h, k) => { h.id = h.id || `j${i}-${k}`; return el("a",
    { href: "#" + h.id }, h.textContent); }));
}
for (const t of $$(".tab")) t.addEventListener("click", () => phase(+t.dataset.phase));
for (const b of $$("button.layer")) b.addEventListener("click", () => {
  const i = D.layers.findIndex(l => l[0] === b.dataset.layer), now = +$(".phase.on").dataset.phase;
  if (i >= 0) { explorers[now].layer(i); $(".explorer", $(".phase.on")).scrollIntoView({ block: "center" }); }
});
for (const input of $$(".phase .filter, #kernels > p .filter")) input.addEventListener("input", () => {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean), home = input.closest("section");
  const items = home.id === "kernels" ? $$(".kernel", home) : $$(".notes tbody tr", home);
  let n = 0;
  for (const r of items) {
    const show = words.every(w => r.textContent.toLowerCase().includes(w));
    r.style.display = show ? "" : "none";
    n += show;
  }
  $(".hits", home).textContent = words.length ? `${n} of ${items.length}` : "";
});
if (D.phases.length) phase(0);
let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth !== width) Object.values(explorers).forEach(x => x.refit());
  width = window.innerWidth;
});
document.body.dataset.ready = "yes";
