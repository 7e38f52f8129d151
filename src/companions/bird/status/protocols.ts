import type { Reply } from '../daemon/reply.ts';

/** A protocol of BIRD, as in `show protocols all`. */
export type ProtocolStatus = {
  readonly name: string;
  /** `BGP`, `Kernel`, `Direct`, … */
  readonly type: string;
  readonly state: string;
  /** `2026-11-22 19:44:56`, this machine's time. */
  readonly since: string;
  /** For BGP its state, and its last error if any: `Active Socket: Connection refused`. */
  readonly info: string;
  /** Routes of all its channels. */
  readonly imported: number;
  readonly exported: number;
  /** For BGP: the peer was itself recovering from a restart when the session came up. */
  readonly peerRestarts: boolean;
  /** For BGP: the peer is restarting, and its earlier routes are still in use. */
  readonly keepsStale: boolean;
};

const HEADING = /^(\S+)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)?\s*(.*)$/;
const ROUTES = /^\s*Routes:\s+(\d+) imported,(?: \d+ filtered,)? (\d+) exported/;

/** Reads the answer to `show protocols all`, with `timeformat protocol iso long`. */
export function readProtocols(reply: Reply): ProtocolStatus[] {
  const protocols: ProtocolStatus[] = [];
  let isNeighbor = false;
  for (const { code, text } of reply.lines) {
    if (code === 1002) {
      const [, name, type, , state, since, info] = HEADING.exec(text) ?? [];
      if (name === undefined || type === undefined || state === undefined || since === undefined) continue;
      protocols.push({
        name,
        type,
        state,
        since,
        info: (info ?? '').trim().replaceAll(/\s+/g, ' '),
        imported: 0,
        exported: 0,
        peerRestarts: false,
        keepsStale: false,
      });
    }
    if (/ capabilities$/.test(text)) isNeighbor = text.trim() === 'Neighbor capabilities';
    const counts = ROUTES.exec(text);
    const last = protocols.pop();
    if (!last) continue;
    const [imported, exported] = counts ? [Number(counts[1]), Number(counts[2])] : [0, 0];
    protocols.push({
      ...last,
      imported: last.imported + imported,
      exported: last.exported + exported,
      peerRestarts: last.peerRestarts || (isNeighbor && text.trim() === 'Restart recovery'),
      keepsStale: last.keepsStale || text.trim() === 'Neighbor graceful restart active',
    });
  }
  return protocols;
}

/** The daemon, as in `show status`. */
export type DaemonStatus = {
  readonly version: string;
  readonly routerId: string;
  readonly since: string;
  /** Seconds since then. */
  readonly uptime: number;
  /** BIRD was restarted and waits for its peers before it changes the kernel's routes. */
  readonly recovering: boolean;
  /** Number of channels not heard from yet. */
  readonly waitingFor: number;
};

export function readDaemon(reply: Reply): DaemonStatus {
  const text = reply.lines.map((line) => line.text).join('\n');
  const part = (pattern: RegExp): string => pattern.exec(text)?.[1] ?? '';
  return {
    version: part(/^BIRD (\S+)/m),
    routerId: part(/^Router ID is (\S+)/m),
    since: part(/^Last reboot on (.*?)(?:\.\d+)?$/m),
    uptime: between(part(/^Last reboot on (.*)$/m), part(/^Current server time is (.*)$/m)),
    recovering: /graceful restart/i.test(text),
    waitingFor: Number(part(/Waiting for (\d+) channels/)),
  };
}

/** Whole seconds between two times as BIRD shows them; 0 if they cannot be read. */
function between(from: string, to: string): number {
  const at = (shown: string): number => Date.parse(`${shown.replace(' ', 'T')}Z`);
  return Math.floor((at(to) - at(from)) / 1000) || 0;
}
