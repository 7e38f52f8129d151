import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { checkFile, installedVersion } from '../bgp/program.ts';
import { FlatnetError } from '../error.ts';
import { netnsPath } from '../linux/netns.ts';
import { isAlive, type ProcessId, signalProcess, spawnDetached } from '../runtime/process.ts';
import type { TorProgram } from './bgp-plan.ts';
import { writeFile, writeJson } from './files.ts';
import { type Lab, labEnvironment, readProcess } from './lab.ts';
import { lastLines } from './log-file.ts';
import { netnsOf, torName } from './names.ts';
import { familiesOf, type Rack, torBird, torFrr } from './tor-config.ts';

/** Where Debian has FRR's daemons. */
const FRR = '/usr/lib/frr';
/** Milliseconds. */
const TRIAL = 200;

/** `log`: what it says before it has a log file of its own. */
type Started = { readonly id: ProcessId; readonly log: string };

/** Throws NOT_FOUND or BIRD when the program is not installed. */
export async function requireTor(program: TorProgram): Promise<void> {
  if (program === 'bird') await installedVersion('bird');
  else if (!existsSync(join(FRR, 'bgpd'))) {
    throw new FlatnetError('is not installed', {
      code: 'NOT_FOUND',
      object: join(FRR, 'bgpd'),
      fix: 'apt-get install frr, or let BIRD be the routers: --tor bird',
    });
  }
}

/** Starts the router of every rack in its namespace; nothing in a lab without any. Throws what one said that ended at once. */
export async function startTors(lab: Lab): Promise<void> {
  const { tor } = lab.state.bgp;
  if (tor === undefined) return;
  const started: Started[] = [];
  for (const rack of racksOf(lab)) {
    started.push(...(await (tor === 'bird' ? startBird(lab, rack) : startFrr(lab, rack))));
  }
  // What does not like its configuration or its surroundings ends at once.
  await sleep(TRIAL);
  for (const { id, log } of started) {
    if (isAlive(id)) continue;
    throw new FlatnetError(lastLines(log, 1) || 'it ended without a word', {
      code: 'INTERNAL',
      operation: 'start a top-of-rack router',
      object: `lab ${lab.name}`,
      fix: `see ${log} (after a failed up only with --keep)`,
    });
  }
}

/** Tells the routers which nodes there are now; nothing in a lab without any, and FRR takes who comes. */
export async function tellTors(lab: Lab): Promise<void> {
  if (lab.state.bgp.tor !== 'bird') return;
  for (const rack of racksOf(lab)) {
    const folder = lab.paths.tor(torName(rack.rack));
    await writeBirdConfig(folder, rack);
    const id = readProcess(join(folder, 'bird.json'));
    // BIRD reads its file again.
    if (id) signalProcess(id, 'SIGHUP');
  }
}

function racksOf(lab: Lab): Rack[] {
  const { bgp, subnets } = lab.state;
  if (bgp.tor === undefined) return [];
  const families = familiesOf(lab.network);
  return Array.from({ length: subnets }, (_, rack) => ({ rack, racks: subnets, nodes: lab.nodes, families }));
}

async function startBird(lab: Lab, rack: Rack): Promise<Started[]> {
  const folder = lab.paths.tor(torName(rack.rack));
  const config = await writeBirdConfig(folder, rack);
  return [await start(lab, rack, 'bird', ['bird', '-f', '-c', config, '-s', join(folder, 'bird.ctl')])];
}

async function writeBirdConfig(folder: string, rack: Rack): Promise<string> {
  const config = join(folder, 'bird.conf');
  writeFile(config, torBird(rack, join(folder, 'bird.log')));
  await checkFile('bird', config);
  return config;
}

async function startFrr(lab: Lab, rack: Rack): Promise<Started[]> {
  const folder = lab.paths.tor(torName(rack.rack));
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFile(join(folder, 'zebra.conf'), `hostname ${torName(rack.rack)}\n`);
  writeFile(join(folder, 'bgpd.conf'), torFrr(rack));
  // They run as frr, whom the lab's folder does not let through; where they are already, they may stay.
  await promisify(execFile)('chown', ['-R', 'frr:frr', folder]);
  const here = '/proc/self/cwd';
  const started: Started[] = [];
  for (const daemon of ['zebra', 'bgpd']) {
    const own = ['-f', `${here}/${daemon}.conf`, '-i', `${here}/${daemon}.pid`];
    const shared = ['-z', `${here}/zserv`, '--vty_socket', here];
    const log = ['--log', `file:${here}/${daemon}.log`];
    started.push(await start(lab, rack, daemon, [join(FRR, daemon), ...own, ...shared, ...log]));
  }
  return started;
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
