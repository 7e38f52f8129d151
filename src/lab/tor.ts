import { chmodSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkFile, installedVersion } from '../bgp/program.ts';
import { FlatnetError } from '../error.ts';
import { netnsPath } from '../linux/netns.ts';
import { signalProcess, spawnDetached } from '../runtime/process.ts';
import type { TorProgram } from './bgp-plan.ts';
import { writeFile, writeJson } from './files.ts';
import { type Lab, labEnvironment, readProcess } from './lab.ts';
import { netnsOf, torName } from './names.ts';
import { familiesOf, type Rack, torBird, torFrr } from './tor-config.ts';

/** Where Debian has FRR's daemons. */
const FRR = '/usr/lib/frr';

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

/** Starts the router of every rack in its namespace. */
export async function startTors(lab: Lab): Promise<void> {
  const { tor } = lab.state.bgp;
  for (const rack of racksOf(lab)) {
    if (tor === 'bird') await startBirdTor(lab, rack);
    else await startFrrTor(lab, rack);
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

async function startBirdTor(lab: Lab, rack: Rack): Promise<void> {
  const folder = lab.paths.tor(torName(rack.rack));
  const config = await writeBirdConfig(folder, rack);
  await start(lab, rack, 'bird', ['bird', '-f', '-c', config, '-s', join(folder, 'bird.ctl')]);
}

async function writeBirdConfig(folder: string, rack: Rack): Promise<string> {
  const config = join(folder, 'bird.conf');
  writeFile(config, torBird(rack, join(folder, 'bird.log')));
  await checkFile('bird', config);
  return config;
}

async function startFrrTor(lab: Lab, rack: Rack): Promise<void> {
  const folder = lab.paths.tor(torName(rack.rack));
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFile(join(folder, 'zebra.conf'), `hostname ${torName(rack.rack)}\n`);
  writeFile(join(folder, 'bgpd.conf'), torFrr(rack));
  chmodSync(folder, 0o700);
  for (const daemon of ['zebra', 'bgpd']) {
    const own = ['-f', join(folder, `${daemon}.conf`), '-i', join(folder, `${daemon}.pid`)];
    const shared = ['-z', join(folder, 'zserv'), '--vty_socket', folder, '-u', 'root', '-g', 'root'];
    const log = ['--log', `file:${join(folder, `${daemon}.log`)}`];
    await start(lab, rack, daemon, [join(FRR, daemon), ...own, ...shared, ...log]);
  }
}

async function start(lab: Lab, { rack }: Rack, program: string, argv: readonly string[]): Promise<void> {
  const folder = lab.paths.tor(torName(rack));
  const id = await spawnDetached(argv, {
    logFile: join(folder, `${program}.stderr`),
    env: labEnvironment(lab.name),
    netns: netnsPath(netnsOf(lab.name, torName(rack))),
  });
  writeJson(join(folder, `${program}.json`), id);
}
