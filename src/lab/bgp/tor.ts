import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { pause } from '../../async/pause.ts';
import { poll } from '../../async/poll.ts';
import { checkFile, installedVersion } from '../../companions/bird/daemon/program.ts';
import { codeOf, FlatnetError } from '../../error.ts';
import { netnsPath } from '../../linux/netns.ts';
import { isAlive, type ProcessId, signalProcess, spawnDetached } from '../../linux/process.ts';
import { lastLines, writeFile, writeJson } from '../record/files.ts';
import { type Lab, labEnvironment, readProcess } from '../record/lab.ts';
import { netnsOf, torName } from '../record/names.ts';
import type { TorProgram } from '../record/topology.ts';
import { familiesOf, type Rack, torBird, torFrr } from './tor-config.ts';

/** Where Debian has FRR's daemons. */
const FRR = '/usr/lib/frr';
/** zebra handles interfaces and routes; bgpd is its client. */
const FRR_DAEMONS = ['zebra', 'bgpd'] as const;
/** The socket on which zebra accepts clients, in the router's folder. */
const ZSERV = 'zserv';
/** Milliseconds. */
const TRIAL = 200;
const PATIENCE = 30_000;

/** `log`: output of the program before it opens its own log file. */
type Started = { readonly id: ProcessId; readonly log: string };

/** Throws NOT_FOUND or BIRD if the program is not installed. */
export async function requireTor(program: TorProgram): Promise<void> {
  if (program === 'bird') await installedVersion('bird');
  else if (!existsSync(join(FRR, 'bgpd'))) {
    throw new FlatnetError('is not installed', {
      code: 'NOT_FOUND',
      object: join(FRR, 'bgpd'),
      fix: 'apt-get install frr, or use BIRD: --tor bird',
    });
  }
}

/**
 * Starts every rack's router in its namespace; does nothing in a lab without routers. If a router exits at
 * once, throws the end of its log.
 */
export async function startTors(lab: Lab): Promise<void> {
  const { tor } = lab.state.bgp;
  if (tor === undefined) return;
  const started = await (tor === 'bird' ? startBird(lab) : startFrr(lab));
  // A router that rejects its configuration or its environment exits at once.
  await pause(TRIAL);
  for (const each of started) if (!isAlive(each.id)) throw failed(lab, each, 'it exited without a message');
}

function failed(lab: Lab, { log }: Started, otherwise: string): FlatnetError {
  return new FlatnetError(lastLines(log, 1) || otherwise, {
    code: 'INTERNAL',
    operation: 'start a top-of-rack router',
    object: `lab ${lab.name}`,
    fix: `see ${log} (after a failed up only with --keep)`,
  });
}

/** Describes the router programs that have exited. */
export function torProblems(lab: Lab): string[] {
  const { tor } = lab.state.bgp;
  return racksOf(lab)
    .map(({ rack }) => torName(rack))
    .flatMap((name) => (tor === 'frr' ? FRR_DAEMONS : ['bird']).map((program) => ({ name, program })))
    .filter(({ name, program }) => {
      const id = readProcess(join(lab.paths.tor(name), `${program}.json`));
      return !(id && isAlive(id));
    })
    .map(({ name, program }) => `${name}: its ${program} is not running; rebuild the lab`);
}

/** Updates the routers' lists of nodes; does nothing without routers, or with FRR, which accepts any node. */
export async function updateTors(lab: Lab): Promise<void> {
  if (lab.state.bgp.tor !== 'bird') return;
  for (const rack of racksOf(lab)) {
    const folder = lab.paths.tor(torName(rack.rack));
    await writeBirdConfig(folder, rack);
    const id = readProcess(join(folder, 'bird.json'));
    // BIRD rereads its file.
    if (id) signalProcess(id, 'SIGHUP');
  }
}

function racksOf(lab: Lab): Rack[] {
  const { bgp, subnets } = lab.state;
  if (bgp.tor === undefined) return [];
  const families = familiesOf(lab.network);
  return Array.from({ length: subnets }, (_, rack) => ({ rack, racks: subnets, nodes: lab.nodes, families }));
}

async function startBird(lab: Lab): Promise<Started[]> {
  const started: Started[] = [];
  for (const rack of racksOf(lab)) {
    const folder = lab.paths.tor(torName(rack.rack));
    const config = await writeBirdConfig(folder, rack);
    const argv = ['bird', '-f', '-c', config, '-s', join(folder, 'bird.ctl')];
    started.push(await start(lab, rack, 'bird', argv));
  }
  return started;
}

async function writeBirdConfig(folder: string, rack: Rack): Promise<string> {
  const config = join(folder, 'bird.conf');
  writeFile(config, torBird(rack, join(folder, 'bird.log')));
  await checkFile('bird', config);
  return config;
}

async function startFrr(lab: Lab): Promise<Started[]> {
  const racks = racksOf(lab);
  for (const rack of racks) await writeFrrConfig(lab.paths.tor(torName(rack.rack)), rack);
  const zebras: Started[] = [];
  for (const rack of racks) zebras.push(await startFrrDaemon(lab, rack, 'zebra'));
  // A bgpd that finds no zebra retries after ten seconds. Sessions established in the meantime never get an
  // interface, and without one FRR treats every IPv6 route with a link-local next hop as withdrawn.
  await Promise.all(zebras.map((zebra) => listens(lab, zebra)));
  const bgpds: Started[] = [];
  for (const rack of racks) bgpds.push(await startFrrDaemon(lab, rack, 'bgpd'));
  return [...zebras, ...bgpds];
}

async function writeFrrConfig(folder: string, rack: Rack): Promise<void> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFile(join(folder, 'zebra.conf'), `hostname ${torName(rack.rack)}\n`);
  writeFile(join(folder, 'bgpd.conf'), torFrr(rack));
  // FRR's daemons run as user frr, which cannot enter the lab's folder but may stay in its working directory.
  await promisify(execFile)('chown', ['-R', 'frr:frr', folder]);
}

function startFrrDaemon(lab: Lab, rack: Rack, daemon: (typeof FRR_DAEMONS)[number]): Promise<Started> {
  const here = '/proc/self/cwd';
  const own = ['-f', `${here}/${daemon}.conf`, '-i', `${here}/${daemon}.pid`];
  const shared = ['-z', `${here}/${ZSERV}`, '--vty_socket', here];
  const log = ['--log', `file:${here}/${daemon}.log`];
  return start(lab, rack, daemon, [join(FRR, daemon), ...own, ...shared, ...log]);
}

/** Resolves when zebra accepts clients. */
async function listens(lab: Lab, zebra: Started): Promise<void> {
  const path = join(dirname(zebra.log), ZSERV);
  const ask = async (): Promise<true | undefined> => {
    if (await takesClients(path)) return true;
    if (!isAlive(zebra.id)) throw failed(lab, zebra, 'it exited without a message');
    return undefined;
  };
  const ready = await poll(ask, { every: 20, patience: PATIENCE });
  if (!ready) throw failed(lab, zebra, `not ready after ${PATIENCE / 1000} s`);
}

function takesClients(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => {
      if (['ENOENT', 'ECONNREFUSED'].includes(codeOf(error) ?? '')) resolve(false);
      else reject(error);
    });
  });
}

async function start(lab: Lab, { rack }: Rack, program: string, argv: readonly string[]): Promise<Started> {
  const folder = lab.paths.tor(torName(rack));
  const log = join(folder, `${program}.stderr`);
  const id = await spawnDetached(argv, {
    cwd: folder,
    logFile: log,
    env: labEnvironment(lab.name),
    netns: netnsPath(netnsOf(lab.name, torName(rack))),
  });
  writeJson(join(folder, `${program}.json`), id);
  return { id, log };
}
