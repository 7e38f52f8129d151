import { InvalidArgumentError } from 'commander';
import { FlatnetError } from '../../error.ts';
import type { Family } from '../../ip/address.ts';
import { findEndpoint, ownAddresses } from '../../lab/inspect/endpoint.ts';
import { type PingReply, pingEndpoint } from '../../lab/inspect/ping.ts';
import { Lab } from '../../lab/record/lab.ts';
import { integer, newCommand } from '../shared/commands.ts';
import { stopSignal } from '../shared/daemon.ts';
import { EXIT, Exit } from '../shared/failure.ts';
import { type LabOptions, labOptions } from './shared.ts';

type Options = LabOptions & {
  readonly count: number;
  readonly size: number;
  readonly interval: number;
  readonly timeout: number;
  readonly 4?: boolean;
  readonly 6?: boolean;
};

export const command = labOptions(
  newCommand('Ping from one pod or node to another, and show the source address that arrives.', [
    'flatnet lab ping web db',
    'flatnet lab ping node1 web -c 10 -i 0.2',
    'flatnet lab ping team-a/web 172.30.255.1   # an address outside the cluster',
  ]),
)
  .argument('<from>', 'a pod, NAMESPACE/POD or a node')
  .argument('<to>', 'the same, or an IP address')
  .option('-c, --count <n>', 'number of pings', integer(1, 1_000_000), 3)
  .option('-s, --size <bytes>', 'payload after the ICMP header', integer(0, 65_000), 56)
  .option('-i, --interval <seconds>', 'time between two pings', seconds, 1)
  .option('-W, --timeout <seconds>', 'how long to wait for each reply', seconds, 1)
  .option('-4', 'over IPv4')
  .option('-6', 'over IPv6')
  .action(async (from: string, to: string, options: Options) => {
    const lab = Lab.open(options.lab);
    const [sender, target] = [findEndpoint(lab, from), findEndpoint(lab, to)];
    if (options[4] && options[6]) {
      throw new FlatnetError('a ping uses one family', {
        code: 'USAGE',
        object: '-4 -6',
        fix: 'use one of them',
      });
    }
    const family: Family | undefined = options[6] ? 6 : options[4] ? 4 : undefined;
    const replies: PingReply[] = [];
    const signal = stopSignal();
    const pings = pingEndpoint(sender, target, {
      ...options,
      interval: 1000 * options.interval,
      timeout: 1000 * options.timeout,
      signal,
      ...(family === undefined ? {} : { family }),
    });
    try {
      for await (const reply of pings) {
        if (!options.json) {
          if (replies.length === 0)
            say(`PING ${target.name} (${reply.to}) from ${sender.name}: ${reply.size} bytes`);
          say(describe(reply, target.name));
        }
        replies.push(reply);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
    const sources = [...new Set(replies.flatMap(({ source }) => source ?? []))];
    const own = await ownAddresses(sender);
    const summary = {
      from: sender.name,
      to: target.name,
      ...statistics(replies),
      sources,
      ownSource: sources.length ? sources.every((source) => own.has(source)) : undefined,
    };
    if (options.json) say(JSON.stringify({ ...summary, replies }, null, 2));
    else say(summarise(summary, target.name));
    if (summary.received < summary.sent || replies.length === 0) throw new Exit(EXIT.failed);
  });

function describe({ sequence, to, size, rtt, error }: PingReply, name: string): string {
  if (rtt !== undefined)
    return `${size + 8} bytes from ${name} (${to}): icmp_seq=${sequence} time=${rtt.toFixed(3)} ms`;
  return `icmp_seq=${sequence} ${error ?? 'no reply'}`;
}

type Statistics = {
  readonly sent: number;
  readonly received: number;
  readonly min?: number;
  readonly avg?: number;
  readonly max?: number;
};

function statistics(replies: readonly PingReply[]): Statistics {
  const times = replies.flatMap(({ rtt }) => rtt ?? []);
  const counts = { sent: replies.length, received: times.length };
  if (times.length === 0) return counts;
  const avg = times.reduce((sum, time) => sum + time, 0) / times.length;
  return { ...counts, min: Math.min(...times), avg, max: Math.max(...times) };
}

function summarise(
  summary: Statistics & { readonly sources: readonly string[]; readonly ownSource: boolean | undefined },
  target: string,
): string {
  const { sent, received, min, avg, max, sources, ownSource } = summary;
  const loss = sent ? Math.round((100 * (sent - received)) / sent) : 0;
  const lines = ['', `--- ${target} ping statistics ---`];
  lines.push(`${sent} packets transmitted, ${received} received, ${loss}% packet loss`);
  if (min !== undefined)
    lines.push(`rtt min/avg/max = ${[min, avg, max].map((t) => t?.toFixed(3)).join('/')} ms`);
  if (sources.length) {
    const verdict = ownSource ? 'the sender’s own: no NAT' : 'not the sender’s own: NAT on the path';
    lines.push(`source address seen by ${target}: ${sources.join(' ')} (${verdict})`);
  }
  return lines.join('\n');
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 3600) return value;
  throw new InvalidArgumentError('Write seconds, for example 0.2.');
}
