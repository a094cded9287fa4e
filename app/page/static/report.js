/** A report of `/api/v1/demo/csv-report`, as facts, a chart and a table. */

const SVG = 'http://www.w3.org/2000/svg';
const MOST_BARS = 12;

const count = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const decimal = new Intl.NumberFormat('en', { maximumSignificantDigits: 6 });

export const number = (value) => count.format(value);

/** @param {string} name */
export function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function drawn(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function showReport(report, { facts, chart, columns }) {
  const cells = report.columns.reduce((sum, one) => sum + one.missing, 0);
  const told = [
    ['Rows', number(report.rows)],
    ['Columns', number(report.columns.length)],
    ['Missing cells', number(cells)],
    ['Ragged rows', number(report.ragged_rows)],
  ];
  facts.replaceChildren(
    ...told.map(([term, value]) => {
      const pair = element('div');
      pair.append(element('dt', term), element('dd', value));
      return pair;
    }),
  );
  chart.replaceChildren(bars(report), ...legend(report));
  columns.replaceChildren(...report.columns.map(row));
}

function bars(report) {
  const shown = report.columns.slice(0, MOST_BARS);
  // As wide as it is shown, so that its text is neither shrunk nor blown up.
  const width = Math.max(280, Math.min(680, document.querySelector('#report').clientWidth));
  const [line, label, value] = [30, Math.round(width * 0.26), 52];
  const missing = (one) => one.missing / (one.count + one.missing || 1);
  const said = shown.map((one) => `${one.name}: ${percent(missing(one))} missing`).join(', ');
  const height = shown.length * line;
  const svg = drawn('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': said });
  const room = width - label - value;
  const letters = Math.floor(label / 8);
  for (const [at, one] of shown.entries()) {
    const y = at * line + 7;
    const name = one.name.length > letters ? `${one.name.slice(0, letters - 1)}…` : one.name;
    svg.append(
      drawn('text', { x: 0, y: y + 12 }, name),
      drawn('rect', { x: label, y, width: room, height: 16, rx: 3, class: 'track' }),
      drawn('rect', { x: label, y, width: room * (1 - missing(one)), height: 16, rx: 3, class: 'filled' }),
      drawn('text', { x: width, y: y + 12, 'text-anchor': 'end', class: 'soft' }, percent(1 - missing(one))),
    );
  }
  return svg;
}

function legend(report) {
  const made = element('p', undefined, { class: 'legend', 'aria-hidden': 'true' });
  made.append(element('span', 'Filled'), element('span', 'Missing', { class: 'is-missing' }));
  const rest = report.columns.length - MOST_BARS;
  return rest > 0 ? [made, element('p', `and ${number(rest)} more columns below`, { class: 'hint' })] : [made];
}

function percent(share) {
  // Nothing that is not all is shown as all.
  const text = (share * 100).toFixed(share > 0.99 && share < 1 ? 1 : 0);
  return `${text === '100.0' ? '99.9' : text} %`;
}

function row(column) {
  const made = element('tr');
  const name = element('th', column.name, { scope: 'row' });
  made.append(name, element('td', column.type));
  made.append(element('td', number(column.count), { class: 'number' }));
  made.append(element('td', number(column.missing), { class: 'number' }));
  for (const value of [column.min, column.max, column.mean]) {
    made.append(element('td', written(value), { class: 'number', title: String(value ?? '') }));
  }
  return made;
}

function written(value) {
  if (value === null) return '–';
  return typeof value === 'number' ? decimal.format(value) : String(value);
}
