"use strict";
// In: the JSON in #data (phases, layers) and packed parts: the table of nodes, a drawing for each stage.  Out: drawings.
// What always holds: nothing is fetched; a part is unpacked when it is looked at; only what lies in sight has elements.
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (q, at = document) => at.querySelector(q), $$ = (q, at = document) => [...at.querySelectorAll(q)];
const SVG = "http://www.w3.org/2000/svg";
const FAR = 0.28, READABLE = 0.45, TALL = 38, AROUND = 250;

function el(tag, attrs = {}, ...kids) {
  const e = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
  for (const [k, v] of Object.entries(attrs)) k.startsWith("on") ? e.addEventListener(k.slice(2), v)
    : e.setAttribute(k, v);
  e.append(...kids);
  return e;
}

// ---------------------------------------------------------------- packed parts
const unpacked = {};
function part(name) {                                            // its text; rejected where a browser cannot unpack it
  return unpacked[name] ??= (async () => {
    if (!window.DecompressionStream) throw Error("This browser cannot unpack the page (it has no DecompressionStream); "
      + "any of 2023 or later can.");
    const raw = Uint8Array.from(atob(document.getElementById("part:" + name).textContent), c => c.charCodeAt(0));
    return new Response(new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  })();
}
const parsed = {};
const data = name => parsed[name] ??= part(name).then(JSON.parse);
let NODES;                                                       // [op, kind, type, layer, line, rule, kin] by number
async function view(name) {
  NODES = await data("nodes");
  const v = await data(name);
  v.ids ??= new Set(v.nodes.map(n => n[0]));
  v.kin ??= new Set(v.nodes.map(n => kin(n[0])));
  return v;
}
const kin = id => NODES[id][6];                                  // what a node was rebuilt from, pass after pass

// ---------------------------------------------------------------- colours
const colour = hue => `--h:${hue};--s:${hue < 0 ? 0 : 62}%`;
const warmth = share => `--h:${Math.round(230 - 230 * Math.sqrt(share))};--s:75%`;          // blue to red

// ---------------------------------------------------------------- one pane: a stage drawn, or as text
class Pane {
  constructor(explorer) {
    this.explorer = explorer;
    this.svg = el("svg:svg", { class: "graph", tabindex: 0 });
    this.pre = el("pre");
    this.bar = el("div");
    this.root = el("div", { class: "pane" }, this.bar, this.svg, this.pre);
    this.asText = false;
    this.events();
  }
  get info() { return this.explorer.phase.stages[this.stage]; }
  get drawn() { return !this.asText && !!this.info.view && !!this.view; }
  async show(stage) {
    this.stage = stage;
    const text = this.asText || !this.info.view;
    this.buttons(text);
    this.svg.style.display = text ? "none" : "";
    this.pre.style.display = text ? "" : "none";
    if (text) return fill(this.pre, this.info.text);
    const v = await view(this.info.view);
    if (this.stage !== stage || v === this.view && this.g) return;
    this.view = v;
    this.marks = [null, null];
    this.svg.replaceChildren(this.g = el("svg:g"));
    this.start();
    this.findMarks(stage);
  }
  buttons(text) {
    this.bar.replaceChildren(...this.explorer.phase.stages.map((s, i) => el("button", {
      class: (i === this.stage ? "on " : "") + (s.same ? "same" : ""), onclick: () => this.show(i),
      title: s.same ? "this pass changed nothing" : i ? `after the pass ${s.name}` : "as the model was captured" },
        s.name)));
    this.bar.append(el("span", { class: "right" },
      el("button", { onclick: () => { this.asText = !this.asText; this.show(this.stage); },
        class: text ? "on" : "" }, "text"),
      ...(text ? [] : [el("button", { onclick: () => this.zoom(1.3) }, "+"),
        el("button", { onclick: () => this.zoom(1 / 1.3) }, "−"),
        el("button", { onclick: () => this.fit() }, "all")])));
  }
  async findMarks(stage) {                                       // what the pass made new, what the next takes away
    if (this.info.boxes) return;
    const near = i => this.explorer.phase.stages[i];
    const ids = async s => s && s.view && !s.boxes ? (await view(s.view)).ids : null;
    const marks = [await ids(near(stage - 1)), await ids(near(stage + 1))];
    if (this.stage === stage) { this.marks = marks; this.redraw(); }
  }
  // -------------------------------------------------------------- where one looks
  measure() {
    const r = this.svg.getBoundingClientRect();
    this.W = r.width || 760; this.H = r.height || 640;
  }
  get whole() { return Math.min((this.W - 30) / this.view.w, (this.H - 30) / this.view.h, 1.15); }
  start() {                                        // all of a small graph; of a large one its inputs, to be readable
    this.measure();
    if (this.whole >= READABLE) return this.fit();
    const { nodes } = this.view, inputs = nodes.filter(n => NODES[n[0]][0] === "input");
    const top = (inputs.length ? inputs : nodes).reduce((a, b) => b[2] < a[2] ? b : a);       // a loss's target lies lower
    this.s = READABLE * 1.5;
    this.tx = this.W / 2 - (top[1] + top[3] / 2) * this.s;
    this.ty = 24 - top[2] * this.s;
    this.apply();
  }
  fit() {
    this.measure();
    const s = this.s = this.whole;
    this.tx = (this.W - this.view.w * s) / 2;
    this.ty = Math.max(15, (this.H - this.view.h * s) / 2);
    this.apply();
  }
  resize() { if (this.drawn) { this.measure(); this.apply(); } }
  zoom(k, x = this.W / 2, y = this.H / 2) {
    const s = Math.min(4, Math.max(Math.min(0.02, this.whole), this.s * k));
    this.tx = x - (x - this.tx) * s / this.s;
    this.ty = y - (y - this.ty) * s / this.s;
    this.s = s;
    this.apply();
  }
  centre(i) {
    const n = this.view.nodes[i];
    this.s = Math.max(this.s, 0.8);
    this.tx = this.W / 2 - (n[1] + n[3] / 2) * this.s;
    this.ty = this.H / 2 - (n[2] + 19) * this.s;
    this.apply();
  }
  nodeOf(id) { return this.drawn ? this.view.nodes.findIndex(n => kin(n[0]) === kin(id)) : -1; }
  // -------------------------------------------------------------- drawing
  apply() {
    this.g.setAttribute("transform", `translate(${this.tx} ${this.ty}) scale(${this.s})`);
    if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.draw(); });
  }
  redraw() { this.parts = null; if (this.drawn) this.draw(); }
  draw() {
    if (!this.drawn) return;
    const far = this.s < FAR;
    if (!this.parts || this.far !== far) {
      this.g.replaceChildren();
      this.far = far;
      this.parts = new Map();
      if (far) this.drawFar();
    }
    this.svg.classList.toggle("mid", this.s < 0.5);
    this.svg.classList.toggle("faded", !!this.explorer.match);
    if (!far) this.drawNear();
  }
  drawFar() {                                      // one path for all that looks alike
    const v = this.view, { match } = this.explorer, box = (x, y, w, h) => `M${x} ${y}h${w}v${h}h${-w}z`;
    const paths = new Map();
    v.nodes.forEach((n, i) => {
      const hit = match && match(n), key = `${hit ? "hit" : ""}|${this.paint(n)}`;
      paths.set(key, (paths.get(key) ?? "") + box(n[1], n[2], n[3], TALL));
    });
    const add = (cls, d, style = "") => this.g.append(el("svg:path", { class: cls, d, style }));
    add("far box", v.boxes.map(b => box(b[1], b[2], b[3], b[4])).join(""));
    add("far edge", v.edges.map(e => path(e[2])).join(""));
    for (const [key, d] of paths) {
      const [hit, style] = key.split("|");
      add("far node " + hit, d, style);
    }
    const at = this.explorer.chosen ? this.nodeOf(this.explorer.chosen.id) : -1;
    if (at >= 0) add("far sel", box(v.nodes[at][1], v.nodes[at][2], v.nodes[at][3], TALL));
  }
  drawNear() {                                     // an element for each thing in sight, made once
    const v = this.view, old = this.parts, now = this.parts = new Map();
    const x0 = (-this.tx - AROUND) / this.s, x1 = (this.W - this.tx + AROUND) / this.s;
    const y0 = (-this.ty - AROUND) / this.s, y1 = (this.H - this.ty + AROUND) / this.s;
    const seen = (x, y, w, h) => x < x1 && x + w > x0 && y < y1 && y + h > y0;
    const keep = (key, make) => now.set(key, old.get(key) ?? make());
    v.boxes.forEach((b, i) => { if (seen(b[1], b[2], b[3], b[4])) keep("b" + i, () => this.box(b)); });
    v.edges.forEach((e, i) => {
      const p = e[2], n = p.length;                // from top to bottom
      let a = Infinity, z = -Infinity;
      if (p[1] > y1 || p[n - 1] < y0) return;
      for (let k = 0; k < n; k += 2) { a = Math.min(a, p[k]); z = Math.max(z, p[k]); }
      if (a < x1 && z > x0) keep("e" + i, () => this.edge(e));
    });
    v.nodes.forEach((n, i) => { if (seen(n[1], n[2], n[3], TALL)) keep("n" + i, () => this.node(n, i)); });
    if (now.size === old.size && [...now.keys()].every(k => old.has(k))) return;
    this.g.replaceChildren(...now.values());
  }
  box([id, x, y, w, h, title]) {
    const { chosen } = this.explorer;
    return el("svg:g", { class: "box" + (chosen && chosen.id === id ? " sel" : "") },
      el("svg:rect", { x, y, width: w, height: h }), el("svg:title", {}, title),
      el("svg:text", { x: x + 9, y: y + 16 }, title));
  }
  edge([a, b, p]) {
    const { chosen } = this.explorer, sel = i => chosen && i >= 0 && kin(this.view.nodes[i][0]) === kin(chosen.id);
    return el("svg:path", { class: "edge" + (sel(a) || sel(b) ? " on" : ""), d: path(p) });
  }
  node(n, i) {
    const [id, x, y, w, title, sub] = n, [before, after] = this.marks, { chosen, match } = this.explorer;
    const cls = "node" + (NODES[id][1] === "leaf" ? " leaf" : "") + (before && !before.has(id) ? " new" : "")
      + (after && !after.has(id) ? " gone" : "") + (match && match(n) ? " hit" : "")
      + (chosen && kin(id) === kin(chosen.id) ? " sel" : "");
    return el("svg:g", { class: cls, style: this.paint(n), "data-node": i },
      el("svg:rect", { x, y, width: w, height: TALL }), el("svg:text", { x: x + w / 2, y: y + 16 }, title),
      el("svg:text", { x: x + w / 2, y: y + 30 }, sub));
  }
  paint(n) {
    const { byTime, phase } = this.explorer;
    if (!byTime) return colour(D.layers[NODES[n[0]][3]][1]);
    return n[8] < 0 ? colour(-1) : warmth(phase.times[n[8]] / phase.most);
  }
  // -------------------------------------------------------------- hands
  events() {
    let last = null, moved = 0;
    const at = e => { const r = this.svg.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    this.svg.addEventListener("wheel", e => {
      if (!e.ctrlKey && document.activeElement !== this.svg) return;      // the page scrolls until a drawing is clicked
      e.preventDefault();
      this.zoom(Math.exp(-e.deltaY * 0.0016), ...at(e));
    }, { passive: false });
    this.svg.addEventListener("pointerdown", e => {
      last = [e.clientX, e.clientY]; moved = 0; this.svg.focus({ preventScroll: true });
    });
    this.svg.addEventListener("pointermove", e => {
      if (!last || !(e.buttons & 1)) { last = null; this.svg.classList.remove("drag"); return; }
      const dx = e.clientX - last[0], dy = e.clientY - last[1];
      moved += Math.abs(dx) + Math.abs(dy);
      if (moved > 4) this.svg.classList.add("drag");
      this.tx += dx; this.ty += dy; last = [e.clientX, e.clientY];
      this.apply();
    });
    this.svg.addEventListener("pointerup", () => { last = null; this.svg.classList.remove("drag"); });
    this.svg.addEventListener("click", e => { if (moved <= 4) this.pick(...at(e)); });
    this.svg.addEventListener("dblclick", e => this.zoom(1.8, ...at(e)));
  }
  pick(px, py) {
    const x = (px - this.tx) / this.s, y = (py - this.ty) / this.s, { nodes, boxes } = this.view;
    const n = nodes.findLast(n => x >= n[1] && x <= n[1] + n[3] && y >= n[2] && y <= n[2] + TALL);
    if (n) return this.explorer.select({ id: n[0], text: n[6], kernel: n[7], step: n[8], stage: this.info.name });
    const b = boxes.findLast(b => x >= b[1] && x <= b[1] + b[3] && y >= b[2] && y <= b[2] + b[4]);
    if (b) this.explorer.select({ id: b[0], text: b[5], kernel: b[6], step: b[7], box: true, stage: this.info.name });
  }
}

function path(p) {
  let d = `M${p[0]} ${p[1]}`;
  for (let i = 2; i < p.length; i += 2) {
    const m = (p[i - 1] + p[i + 1]) / 2;
    d += `C${p[i - 2]} ${m} ${p[i]} ${m} ${p[i]} ${p[i + 1]}`;
  }
  return d;
}
