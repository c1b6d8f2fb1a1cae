// Netron's own reader and drawing, without its page: for `benchmarks/tools_netron.py`, in Node and in a browser.
//
// In: a function that imports a module of Netron's, one that gives the text of another of its files, and a model file.
// Out: what Netron's side bars show of the model as text, or its graph drawn into an element `target`.  What always
// holds: Netron asks its host to report usage by `event`, and this host does nothing there.

export async function open(load, asset, name, stream) {
    const raise = error => { throw error; };
    const require = id => load(id.replace('./', '') + '.js');
    const refused = async what => raise(new Error(`no other file is opened: ${what}`));
    const host = {type: 'Test', event() {}, update() {}, environment: key => key === 'serial', exception: raise,
                  require, asset, request: refused};
    const {ModelFactoryService} = await require('./view');
    const model = await new ModelFactoryService(host).open(
        {identifier: name, stream, entries: new Map(), require, asset, error: raise, fetch: refused, request: refused});
    return [model, host];
}

export function told(model, Tensor) {
    const count = tensor => tensor.type.shape.dimensions.reduce((a, b) => a * Number(b), 1);
    const flat = value => Array.isArray(value) ? value.flatMap(flat) : [value];
    const beginning = weight => count(weight) > 4096 ? '' :
        ` begins with ${flat(new Tensor(weight).value).slice(0, 3).map(x => x.toPrecision(4)).join(' ')}`;
    const lines = [`format ${model.format}`];
    for (const graph of model.modules) {
        const weights = graph.nodes.flatMap(n => n.inputs).flatMap(a => a.value).map(v => v.initializer).filter(Boolean);
        lines.push(`graph ${graph.name}: ${graph.nodes.length} layers, ${graph.inputs.length} inputs, `
                   + `${graph.outputs.length} outputs, parameters ${weights.reduce((a, w) => a + count(w), 0)}`);
        for (const node of graph.nodes) {
            lines.push(`layer ${node.name} (${node.type.name})`);
            for (const [kind, list] of [['in', node.inputs], ['out', node.outputs]])
                for (const argument of list)
                    for (const value of argument.value)
                        lines.push(`  ${kind} ${argument.name}: ${value.name} ${(value.initializer || value).type || ''}`
                                   + (value.initializer ? beginning(value.initializer) : ''));
            for (const fused of node.chain || [])
                lines.push(`  then ${fused.type.name}`);
            for (const attribute of node.attributes)
                lines.push(`  ${attribute.name} = ${JSON.stringify(attribute.value)}`);
        }
    }
    return lines.join('\n');
}

export async function draw(load, model, host) {
    const {View} = await load('view.js');
    const options = {weights: true, attributes: false, names: true, direction: 'vertical'};
    const view = Object.assign(Object.create(View.prototype), {
        _host: Object.assign(host, {document, window}), _path: [], _selection: [], _worker: null, _model: model,
        _options: options});
    Object.defineProperty(view, 'target', {value: null, writable: true});     // setting it would fill the tool bar
    const status = await view.render(model.modules[0]);
    if (status !== '')
        throw new Error(`Netron's layout ended with ${status}`);
    return [document.querySelectorAll('.graph-node').length, document.querySelectorAll('.edge-path').length];
}

if (typeof process !== 'undefined') {                                          // node tools_netron.js FOLDER MODEL
    const [fs, path, url] = await Promise.all(['fs', 'path', 'url'].map(name => import(name)));
    const [folder, file] = process.argv.slice(2);
    const load = name => import(url.pathToFileURL(path.join(folder, name)));
    const {FileStream} = await load('node.js');
    const {size, mtimeMs} = fs.statSync(file);
    const [model] = await open(load, async name => fs.readFileSync(path.join(folder, name), 'utf-8'),
                               path.basename(file), new FileStream(file, 0, size, mtimeMs));
    console.log(told(model, (await load('base.js')).Tensor));
}
