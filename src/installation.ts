import { join, resolve } from 'node:path';

/**
 * The folder that flatnet runs from: the repository, or the image's `/opt/flatnet`, which has the same
 * folders below it. This file and the bundle, `dist/flatnet.mjs`, are equally deep in it.
 */
const ROOT = resolve(import.meta.dirname, '..');

/** What comes with the program. */
export const INSTALLATION = {
  /** The command line itself. It ends in exec, so its pid is the program's. */
  program: join(ROOT, 'bin/flatnet'),
  /** The executable for container runtimes, which `make shim` builds, with its fallback beside it. */
  shim: join(ROOT, 'dist/flatnet-cni'),
  /** Carries packets for the backend udp, which `make shim` builds where there is a C compiler. */
  udpForwarder: join(ROOT, 'dist/flatnet-udp'),
  /** A lab's stand-in for web servers. */
  webPage: join(ROOT, 'share/answer.sh'),
} as const;
