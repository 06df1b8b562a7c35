// Shows the sessions of this proxy and keeps them fresh; ends one when asked to. Everything that
// users chose is put into the page as text, never as markup.
'use strict';

/** Between two looks, in milliseconds. */
const PAUSE = 2000;

const element = (id) => document.getElementById(id);

/** The rows in the table, by the names of their sessions. */
const rows = new Map();

/** The session that the dialog is about. */
let chosen = null;

/** All sessions, in as many answers as it takes. */
async function fetchSessions() {
  const sessions = [];
  let after = '';
  do {
    const response = await fetch(`sessions${after}`, { cache: 'no-store' });
    if (!response.ok) throw new Error(`status ${response.status}`);
    const answer = await response.json();
    sessions.push(...answer.sessions);
    after = answer.next ? `?after=${answer.next}` : '';
  } while (after);
  return sessions;
}

function bytes(count) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

function duration(seconds) {
  const two = (number) => String(number).padStart(2, '0');
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3600)];
  if (hours >= 24) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  if (hours) return `${hours}:${two(minutes % 60)}:${two(seconds % 60)}`;
  return `${minutes}:${two(seconds % 60)}`;
}

function channels(open) {
  const names = {
    'session': 'session',
    'direct-tcpip': 'forward',
    'forwarded-tcpip': 'remote forward',
    'direct-streamlocal@openssh.com': 'socket',
    'forwarded-streamlocal@openssh.com': 'remote socket',
    'auth-agent@openssh.com': 'agent',
  };
  const told = ([kind, count]) => `${count > 1 ? `${count} × ` : ''}${names[kind] ?? kind}`;
  return Object.entries(open).map(told).join(', ') || '–';
}

const place = (session) =>
  [session.organization_name, session.space_name, session.app_name].filter(Boolean).join(' / ');

function newRow(session) {
  const row = element('row').content.firstElementChild.cloneNode(true);
  row.dataset.session = session.session_id;
  row.querySelector('button').addEventListener('click', () => ask(session));
  return row;
}

function fill(row, session) {
  const put = (selector, text) => {
    const cell = row.querySelector(selector);
    if (cell.textContent !== text) cell.textContent = text;
  };
  const name = session.user_name ?? session.user;
  put('.name', name);
  put('.user', session.user_name ? session.user : '');
  put('.app', place(session) || session.process_guid);
  put('.instance', `instance ${session.index}, ${session.instance_guid}`);
  put('.source', session.source);
  put('.age', duration(session.seconds));
  put('.up', bytes(session.bytes_up));
  put('.down', bytes(session.bytes_down));
  put('.open', channels(session.channels));
  row.querySelector('.age').title = `since ${session.began}`;
  row.querySelector('button').setAttribute('aria-label', `End the session of ${name}`);
  row.dataset.text = [name, session.user, place(session), session.process_guid,
    session.instance_guid, session.source].join(' ').toLowerCase();
}

/** Puts the table in order with the least of changes, so that nothing loses its focus. */
function show(sessions) {
  const body = element('sessions');
  const open = new Set(sessions.map((session) => session.session_id));
  for (const [id, row] of rows) {
    if (!open.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
  for (const session of sessions) {
    let row = rows.get(session.session_id);
    if (!row) {
      row = newRow(session);
      rows.set(session.session_id, row);
      body.append(row);
    }
    fill(row, session);
  }
  filter();
}

function filter() {
  const wanted = element('filter').value.trim().toLowerCase();
  let seen = 0;
  for (const row of rows.values()) {
    row.hidden = !row.dataset.text.includes(wanted);
    seen += row.hidden ? 0 : 1;
  }
  element('count').textContent = seen === rows.size ? `${seen}` : `${seen} of ${rows.size}`;
  const nobody = element('nobody');
  nobody.hidden = seen > 0;
  nobody.textContent = rows.size ? 'Nobody fits the filter.' : 'Nobody is in.';
}

function trouble(text) {
  const line = element('trouble');
  line.hidden = !text;
  if (line.textContent !== text) line.textContent = text;
  document.body.classList.toggle('stale', Boolean(text));
}

async function look() {
  try {
    show(await fetchSessions());
    trouble('');
  } catch {
    trouble('The proxy does not answer. This page shows what it said last, and goes on asking.');
  }
}

function ask(session) {
  chosen = session;
  const who = session.user_name ?? session.user;
  element('whose').textContent = `${who} in ${place(session) || session.process_guid}, instance ${session.index}`;
  element('message').value = '';
  element('failure').hidden = true;
  element('ending').showModal();
  element('message').focus();
}

async function end() {
  const failed = (text) => {
    element('failure').textContent = text;
    element('failure').hidden = false;
  };
  const body = JSON.stringify({ message: element('message').value });
  try {
    const response = await fetch(`sessions/${chosen.session_id}`, { method: 'DELETE', body });
    // Somebody who has gone meanwhile is as good.
    if (!response.ok && response.status !== 404) return failed(`The proxy says: status ${response.status}.`);
  } catch {
    return failed('The proxy does not answer.');
  }
  element('ending').close();
  await look();
}

element('filter').addEventListener('input', filter);
element('keep').addEventListener('click', () => element('ending').close());
element('ending').addEventListener('submit', (event) => {
  event.preventDefault();
  end();
});
document.addEventListener('visibilitychange', () => document.hidden || look());

(async () => {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
})();
