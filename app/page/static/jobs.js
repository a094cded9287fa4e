/** The background jobs of `/api/v1/tasks/`: started, watched over the hub, listed and cancelled. */

import { element, number } from './report.js';

/** What can be started here, where the service has it. */
const EXAMPLES = [
  { name: 'countdown', label: 'Countdown of 20 s', arguments: { seconds: 20 } },
  { name: 'order_export', label: 'Export of all orders, CSV', arguments: { file_format: 'csv' } },
  { name: 'order_export', label: 'Export of all orders, JSON', arguments: { file_format: 'json' } },
];
const LISTED = 8;
/** While anything runs: news may be lost, and there may be no hub. */
const ASK_SECONDS = 5;

const $ = (id) => document.getElementById(id);

/**
 * @param {(path: string) => URL} api
 * @param {string} channel Whose jobs they are; a header, so that it stands in no log.
 */
export function showJobs(api, channel) {
  let rows = [];
  let asking = 0;

  async function ask(path, init = {}) {
    const headers = { 'Content-Type': 'application/json', 'X-Async-Request': channel };
    const response = await fetch(api(`tasks/${path}`), { headers, ...init });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail);
    return answer;
  }

  /** Soon, and once for all that asks for it by then. */
  function refresh(seconds = 0.25) {
    clearTimeout(asking);
    asking = setTimeout(list, seconds * 1000);
  }

  async function list() {
    try {
      rows = (await ask(`?limit=${LISTED}`)).tasks;
    } catch {
      return refresh(ASK_SECONDS);
    }
    render();
    if (rows.some(underWay)) refresh(ASK_SECONDS);
  }

  function render() {
    $('no-jobs').hidden = rows.length > 0;
    const had = document.activeElement?.dataset?.key;
    $('jobs').replaceChildren(...rows.map(row));
    // Whoever went through the list with the keyboard stays where they were.
    if (had) document.querySelector(`[data-key="${CSS.escape(had)}"]`)?.focus();
  }

  function row(job) {
    const made = element('li');
    const when = element('div', undefined, { class: 'when' });
    const status = job.cancelling ? 'CANCELLING' : job.status;
    when.append(element('span', status.toLowerCase(), { class: `badge ${job.status.toLowerCase()}` }));
    when.append(said(job));
    const buttons = element('div', undefined, { class: 'buttons' });
    if (underWay(job) && !job.cancelling) buttons.append(cancelling(job));
    if (job.result?.file) buttons.append(download(job));
    const time = new Date(job.created).toLocaleTimeString();
    made.append(element('div', `${job.name}, ${time}`, { class: 'what' }), when, buttons);
    if (underWay(job)) made.append(bar(job));
    return made;
  }

  function bar(job) {
    const made = element('progress', undefined, { max: 100, 'aria-label': `Progress of ${job.name}` });
    if (job.progress) made.value = job.progress.percent;
    return made;
  }

  function cancelling(job) {
    const made = element('button', 'Cancel', { type: 'button', class: 'quiet small' });
    made.setAttribute('aria-label', `Cancel the job ${job.name}`);
    made.dataset.key = `cancel ${job.id}`;
    made.addEventListener('click', async () => {
      made.disabled = true;
      try {
        await ask(`${job.id}/cancel`, { method: 'POST' });
      } catch (error) {
        say(error.message);
      }
      refresh();
    });
    return made;
  }

  function download(job) {
    const url = api(`demo/exports/${job.id}`);
    // Not in a header: the browser fetches it by itself, to a file.
    url.searchParams.set('channel', channel);
    const made = element('a', 'Download', { class: 'button quiet small', href: url, download: '' });
    made.dataset.key = `download ${job.id}`;
    return made;
  }

  function say(text) {
    $('job-error').textContent = text;
  }

  $('job').addEventListener('submit', async (event) => {
    event.preventDefault();
    const { name, arguments: given } = EXAMPLES[$('job-name').value];
    say('');
    try {
      await ask('', { method: 'POST', body: JSON.stringify({ name, arguments: given }) });
    } catch (error) {
      say(error.message);
    }
    refresh(0);
  });

  offer(api);
  list();

  return {
    /** A message of the hub, about a job. */
    heard(told) {
      const known = rows.find((one) => one.id === told.task_id);
      if (!known || !told.progress || told.status !== 'RUNNING') return refresh();
      if (told.version <= known.version) return;
      Object.assign(known, { status: told.status, version: told.version, progress: told.progress });
      render();
    },
  };
}

function underWay(job) {
  return job.completed === null;
}

function said(job) {
  if (job.error) return job.error.message;
  if (job.status !== 'COMPLETED') return job.progress?.message ?? '';
  return job.result?.rows === undefined ? String(job.result) : `${number(job.result.rows)} rows`;
}

/** Lets one choose among the examples that the service says it has. */
async function offer(api) {
  const described = await (await fetch(api('../../openapi.json'))).json();
  const body = described.paths[api('tasks/').pathname.slice(api('../../').pathname.length - 1)];
  const asked = body?.post.requestBody.content['application/json'].schema.oneOf ?? [];
  const names = asked.map((one) => one.properties.name.const);
  for (const [place, one] of EXAMPLES.entries()) {
    if (names.includes(one.name)) $('job-name').append(element('option', one.label, { value: place }));
  }
  $('job').hidden = $('job-name').options.length === 0;
}
