import { AsyncClient } from './client/index.js';
import { showJobs } from './jobs.js';
import { element, number, showReport } from './report.js';
import { sample } from './sample.js';

const STATES = {
  websocket: 'Live, over WebSocket',
  sse: 'Live, over server-sent events',
  connecting: 'Connecting',
  closed: 'Asking for results',
};
const MOST_MESSAGES = 100;
const CHANNEL = 'respond-async channel';

const $ = (id) => document.getElementById(id);
// Paths, not URLs from the root: the service may be mounted below a prefix.
const base = new URL('.', location.href);
const api = (path) => new URL(`api/v1/${path}`, base);

const client = new AsyncClient({
  baseUrl: base,
  hubUrl: base,
  resultsPath: api('async_background_response/').pathname,
  channel: localStorage.getItem(CHANNEL) ?? undefined,
});
localStorage.setItem(CHANNEL, client.channel);

/** @type {File | undefined} */
let file;
/** Of the report that is made. @type {AbortController | undefined} */
let aborting;
/** Progress of what runs, by id. */
const progress = new Map();

// The report.

function choose(chosen) {
  file = chosen;
  $('file-name').textContent = chosen.name;
  $('file-size').textContent = `${number(Math.max(1, chosen.size / 1024))} KiB`;
}

function say(text, bad = false) {
  $('outcome').textContent = text;
  $('outcome').classList.toggle('bad', bad);
}

function step(text, done) {
  $('step').textContent = text;
  if (done === undefined) $('bar').removeAttribute('value');
  else $('bar').value = done;
}

function busy(on) {
  $('start').disabled = $('sample').disabled = on;
  $('abort').hidden = $('progress').hidden = !on;
}

async function makeReport(chosen) {
  const body = new FormData();
  body.set('file', chosen);
  const asynchronous = new FormData($('report')).get('mode') === 'async';
  aborting = new AbortController();
  const begun = performance.now();
  const init = { method: 'POST', body, signal: aborting.signal };
  $('result').hidden = true;
  say('');
  busy(true);
  step(asynchronous ? 'Sending the file' : 'Sending the file and waiting for the answer');
  try {
    const url = api('demo/csv-report');
    const response = asynchronous
      ? await client.fetchAsync(url, {
          ...init,
          onAccepted: () => {
            const after = (performance.now() - begun) / 1000;
            step(`Accepted after ${after.toFixed(2)} s, waiting for a worker`);
            refresh();
          },
          onProgress: ({ done, detail }) => step(detail ?? 'Running', done),
        })
      : await fetch(url, init);
    const seconds = (performance.now() - begun) / 1000;
    const how = asynchronous ? 'asynchronously' : 'directly';
    await show(response, `Answered ${how} after ${seconds.toFixed(2)} s, status ${response.status}.`);
  } catch (error) {
    say(aborting.signal.aborted ? 'Cancelled.' : `No answer: ${error.message}`, !aborting.signal.aborted);
  } finally {
    busy(false);
    aborting = undefined;
    refresh();
  }
}

async function show(response, told) {
  const answer = await response.json().catch(() => undefined);
  if (!response.ok || !answer) return say(`${told} ${answer?.detail ?? ''}`, true);
  say(told);
  if (!answer.columns) return say(`${told} ${JSON.stringify(answer)}`);
  $('result').hidden = false;
  showReport(answer, { facts: $('facts'), chart: $('chart'), columns: $('columns') });
}

$('file').addEventListener('change', (event) => event.target.files[0] && choose(event.target.files[0]));
$('sample').addEventListener('click', () => choose(sample()));
$('abort').addEventListener('click', () => aborting?.abort());
$('report').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!file) return say('Choose a file first, or use the sample.', true);
  makeReport(file);
});
for (const kind of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  $('drop').addEventListener(kind, (event) => {
    event.preventDefault();
    $('drop').classList.toggle('over', kind === 'dragenter' || kind === 'dragover');
    if (kind === 'drop' && event.dataTransfer.files[0]) choose(event.dataTransfer.files[0]);
  });
}

// One's own requests.

let listing = 0;
/** What was listed last. */
let rows = [];

/** Soon, and once for all that asks for it by then. */
function refresh() {
  listing ||= setTimeout(list, 250);
}

async function list() {
  listing = 0;
  try {
    rows = (await client.list({ limit: 10 })).data;
  } catch {
    // Asked again with the next message.
    return;
  }
  render();
}

function render() {
  $('none').hidden = rows.length > 0;
  const had = document.activeElement?.dataset?.key;
  $('requests').replaceChildren(...rows.map(request));
  // Whoever went through the list with the keyboard stays where they were.
  if (had) document.querySelector(`[data-key="${CSS.escape(had)}"]`)?.focus();
}

function request(one) {
  const made = element('li');
  const path = one.endpoint.replace('/api/v1/demo/', '');
  const when = element('div', undefined, { class: 'when' });
  const done = progress.get(one.task_id);
  const running = one.status !== 'completed';
  const status = running && done !== undefined ? `${one.status}, ${Math.round(done * 100)} %` : one.status;
  const time = new Date(one.accepted_at).toLocaleTimeString();
  when.append(element('span', status, { class: `badge ${one.status}` }), time);
  const buttons = element('div', undefined, { class: 'buttons' });
  if (running) {
    buttons.append(button('Cancel', `${one.method} ${path}`, one, () => client.cancel(one.task_id)));
  } else {
    buttons.append(
      button('Show', `the answer of ${path}`, one, async () => {
        const response = await client.resume(one.task_id);
        await show(response, `${one.method} ${path}: status ${response.status}.`);
        $('outcome').scrollIntoView({ block: 'nearest' });
      }),
      button('Forget', path, one, () => client.cancel(one.task_id)),
    );
  }
  made.append(element('div', `${one.method} ${path}`, { class: 'what', title: one.endpoint }), when, buttons);
  return made;
}

function button(text, about, one, action) {
  const made = element('button', text, { type: 'button', class: 'quiet small' });
  made.setAttribute('aria-label', `${text} ${about}`);
  made.dataset.key = `${text} ${one.task_id}`;
  made.addEventListener('click', async () => {
    made.disabled = true;
    try {
      await action();
    } catch (error) {
      say(error.message, true);
    }
    refresh();
  });
  return made;
}

$('slow').addEventListener('submit', (event) => {
  event.preventDefault();
  const url = api(`demo/sleep?seconds=${encodeURIComponent($('seconds').value)}`);
  client.fetchAsync(url, { onAccepted: refresh }).then(refresh, (error) => say(error.message, true));
});

// What the hub says.

client.addEventListener('state', ({ detail }) => {
  $('state').textContent = STATES[detail];
  $('state').dataset.state = detail;
});
client.addEventListener('message', ({ detail }) => {
  const line = element('li');
  line.append(element('time', new Date().toLocaleTimeString()), ` ${JSON.stringify(detail)}`);
  $('messages').prepend(line);
  while ($('messages').children.length > MOST_MESSAGES) $('messages').lastChild.remove();
  if (detail.type !== 'data') return;
  const told = JSON.parse(detail.data);
  if (told.action === 'task') return jobs.heard(told);
  if (told.status !== 'progress') {
    progress.delete(told.task_id);
    return refresh();
  }
  progress.set(told.task_id, told.done);
  if (rows.some((one) => one.task_id === told.task_id)) render();
  else refresh();
});
$('clear').addEventListener('click', () => $('messages').replaceChildren());

const jobs = showJobs(api, client.channel);
client.connect();
list();
