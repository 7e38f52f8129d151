import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { INSTALLATION } from '../installation.ts';

/** A container's program, according to its manifest. */
export type Program = {
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  /** Container ports, for a server. */
  readonly ports: readonly number[];
};

/** What runs in place of an image. `note` explains it to the user. */
export type Substitute = { readonly note: string } & (
  | { readonly runs: 'command'; readonly argv: readonly string[]; readonly applets: boolean }
  | { readonly runs: 'answerer'; readonly ports: readonly number[] }
  | { readonly runs: 'nothing' }
);

const SHELLS = ['busybox', 'alpine'];
const SERVERS = ['nginx', 'httpd', 'caddy', 'http-echo', 'whoami', 'echoserver', 'echo-server'];

/**
 * Chooses what runs in place of an image. A lab pulls no images: its containers are processes on this
 * machine's file system. A command always takes precedence; without one, well-known images are replaced by
 * programs that behave the same on the network.
 */
export function substitute({ image, command, args, ports }: Program): Substitute {
  const name = baseName(image);
  const notPulled = `image ${image} is not pulled`;
  const busybox = SHELLS.includes(name);
  if (command?.length) {
    const argv = [...command, ...(args ?? [])];
    const where = busybox ? "with this machine's busybox" : "on this machine's file system";
    return {
      runs: 'command',
      argv,
      applets: busybox,
      note: `${notPulled}: ran ${quote(argv)} ${where}`,
    };
  }
  if (SERVERS.includes(name)) {
    // A port may be listed for both TCP and UDP.
    const listening = ports.length ? [...new Set(ports)] : [80];
    return {
      runs: 'answerer',
      ports: listening,
      note: `${notPulled}: an HTTP server that returns the pod's name listens on ${listening.map((port) => `:${port}`).join(' ')}`,
    };
  }
  if (busybox) {
    const argv = args?.length ? [...args] : ['sh'];
    return {
      runs: 'command',
      argv,
      applets: true,
      note: `${notPulled}: ran ${quote(argv)} with this machine's busybox`,
    };
  }
  if (name === 'pause') {
    return {
      runs: 'command',
      argv: ['sleep', 'infinity'],
      applets: false,
      note: `${notPulled}: ran sleep infinity`,
    };
  }
  return {
    runs: 'nothing',
    note: `${notPulled}, and its program is unknown: give the container a command`,
  };
}

/** `registry.example/team/nginx:1.27@sha256:…` → `nginx`. */
function baseName(image: string): string {
  const path = image.split('@')[0] ?? '';
  return (path.split('/').at(-1) ?? '').split(':')[0] ?? '';
}

function quote(argv: readonly string[]): string {
  const text = argv.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word))).join(' ');
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/**
 * If a server exits, e.g. because its port is taken in the pod, the others are stopped too: the container has
 * failed.
 */
const ONE_FOR_ALL = `trap 'trap - CHLD; kill $all 2>/dev/null; exit 1' CHLD;`;

/**
 * Prepares `dir` and returns the command of a small HTTP server that answers `GET /` on every port, over IPv4
 * and IPv6, with the pod's name and the client's address. With busybox it is a process of 1 MB that starts in
 * a millisecond.
 */
export function answerer(dir: string, ports: readonly number[]): string[] {
  mkdirSync(join(dir, 'cgi-bin'), { recursive: true });
  // A link, not a copy: /run is often mounted noexec.
  const page = join(dir, 'cgi-bin', 'index.cgi');
  rmSync(page, { force: true });
  symlinkSync(INSTALLATION.webPage, page);
  const servers = ports.map((port) => `busybox httpd -f -p ${port} -h "$1" & all="$all $!";`);
  return ['sh', '-c', `${ONE_FOR_ALL} ${servers.join(' ')} wait`, 'answerer', dir];
}
