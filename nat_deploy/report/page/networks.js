// What both drawings share: the data, which network is looked at, and which ones are within the limits that the reader set.
const data = JSON.parse(document.getElementById("data").textContent);
const ROLES = { archive: "In the archive", front: "On the front", finalist: "Finalist", chosen: "The chosen network" };
const SVG = "http://www.w3.org/2000/svg";

const element = (name, attributes = {}, text = "") => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
};
const plain = (name, text = "", className = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
};
const shown = value => value === null ? "not known" : String(Number(value.toPrecision(4)));

const state = { now: data.networks.length - 1, limits: data.measures.map(() => null) };
const drawings = [];  // functions that show the state
const show = () => drawings.forEach(draw => draw());
const within = network => state.limits.every((limit, place) => {
  const value = network.values[place];
  return limit === null || (value !== null && (data.measures[place].more ? value >= limit : value <= limit));
});

const extent = place => {
  const values = data.networks.flatMap(network => network.values[place] === null ? [] : [network.values[place]]);
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  return [low, high];
};

// The network that is looked at, in words.
const panel = document.getElementById("network");
drawings.push(() => {
  const network = data.networks[state.now];
  const list = plain("dl");
  data.measures.forEach((measure, place) => {
    const interval = network.intervals[place], budget = measure.budget;
    const value = plain("dd", shown(network.values[place]));
    if (interval) value.append(plain("small", `${shown(interval[0])} to ${shown(interval[1])}, ${interval[2]}`));
    if (budget !== null && network.values[place] !== null) {
      const over = (interval ? interval[1] : network.values[place]) > budget;
      value.append(plain("small", `${over ? "over" : "within"} ${measure.bound}`, over ? "over" : ""));
    }
    list.append(plain("dt", measure.axis), value);
  });
  const layers = plain("ul");
  layers.append(...network.layers.map(line => plain("li", line)));
  panel.replaceChildren(plain("h3", ROLES[network.role]), list, layers);
});
