import { Backoff } from '../../async/backoff.ts';
import { nextTurn, pause } from '../../async/pause.ts';
import { untilDone } from '../../async/until-done.ts';
import { podTitle } from '../../cluster/node.ts';
import { FlatnetError, messageOf } from '../../error.ts';
import { linkGet } from '../../linux/link/link.ts';
import { NETLINK_ROUTE, NetlinkSocket } from '../../linux/netlink/socket.ts';
import { type LoggedPacket, type LostPackets, Nflog } from '../../linux/nflog.ts';
import type { Log } from '../../log.ts';
import type { NodePolicies } from '../../policy/node/contributions.ts';
import { Concerns, haveLogRules, type LoggedFlow, logged, type Scene } from '../../policy/observe/logged.ts';
import { HEADING_BYTES, headingOf } from '../../policy/observe/packet.ts';
import { isLogged, Tally } from '../../policy/observe/tally.ts';
import { type Problem, warning } from '../../problem.ts';
import { Recent, type RecentFlows } from './recent.ts';

/** Milliseconds between two looks at what has come; the kernel gathers as long. */
const GATHER = 1000;
/** Milliseconds before it is tried again to hear, after that has failed. */
const RETRY = 5000;
/** The most lines a look writes to the agent's log: the rest is only among the recent ones. */
const LINES = 10;

export type PolicyLogOptions = {
  /** What is in force now. */
  readonly node: () => NodePolicies | undefined;
  readonly log: Log;
  /** A path; by default the thread's own. */
  readonly netns?: string | undefined;
};

/** Hears of the packets that the tables log, and writes them down by names, a line a flow. */
export class PolicyLog {
  readonly #options: PolicyLogOptions;
  readonly #tally = new Tally();
  readonly #recent = new Recent();
  readonly #concerns = new Concerns();
  /** Packets that the kernel could not pass on, and those of too many flows at a time. */
  #lost = 0;
  #problem: Problem | undefined;

  constructor(options: PolicyLogOptions) {
    this.#options = options;
  }

  /** Packets that were logged, and still are in no line: at least so many. */
  get lost(): number {
    return this.#lost;
  }

  /** `after`: the number of the last flow that the asker knows. */
  recent(after: number): RecentFlows {
    return this.#recent.after(after);
  }

  /** Whether rules in force want connections written down, whatever becomes of them. */
  get isWantedByRules(): boolean {
    return haveLogRules(this.#options.node()?.cluster.tiers ?? []);
  }

  /** Why nothing is heard of packets. */
  get problem(): Problem | undefined {
    return this.#problem;
  }

  /**
   * Listens to a group until the signal aborts, again and again where that fails; `changed` learns whether it
   * does.
   */
  async listen(group: number, signal: AbortSignal, changed: (listens: boolean) => void): Promise<void> {
    const { log } = this.#options;
    while (!signal.aborted) {
      const nflog = await this.#open(group, signal);
      if (!nflog) return;
      changed(true);
      const ended = new AbortController();
      const telling = this.#keepTelling(AbortSignal.any([signal, ended.signal]));
      try {
        await nflog.run((packet) => this.#take(packet));
      } catch (error) {
        log.warn({ group, error: messageOf(error) }, 'cannot hear of denied packets any more');
        changed(false);
        // Each change writes the tables anew.
        await pause(RETRY, signal);
      } finally {
        ended.abort();
        await telling;
      }
    }
  }

  /** Undefined once the signal aborts. */
  async #open(group: number, signal: AbortSignal): Promise<Nflog | undefined> {
    const { netns, log } = this.#options;
    const open = async (): Promise<Nflog> =>
      Nflog.open({ netns, group, bytes: HEADING_BYTES, delay: GATHER, signal });
    const failed = (_: string, error: unknown): void => {
      this.#problem = unheard(group, error);
    };
    const backoff = new Backoff({ first: 1000, longest: 30_000 });
    try {
      return await untilDone('listen to NFLOG', open, { signal, log, failed, backoff });
    } catch (error) {
      if (signal.aborted) return undefined;
      throw error;
    } finally {
      this.#problem = undefined;
    }
  }

  #take(packet: LoggedPacket | LostPackets): void {
    if ('lost' in packet) {
      this.#lost += packet.lost;
      return;
    }
    const { prefix, family, device } = packet;
    const heading = headingOf(family, packet.packet);
    if (heading && isLogged(prefix)) this.#tally.add(prefix, heading, device);
  }

  async #keepTelling(signal: AbortSignal): Promise<void> {
    while (await pause(GATHER, signal)) if (!this.#tally.isEmpty) await this.#tell();
    await this.#tell();
  }

  async #tell(): Promise<void> {
    const { log, node } = this.#options;
    const policies = node();
    if (!policies) return;
    const { seen, omitted } = this.#tally.due(performance.now());
    if (seen.length + omitted === 0) return;
    this.#lost += omitted;
    const flows: LoggedFlow[] = [];
    for (const flow of logged(seen, this.#sceneOf(policies), this.#concerns)) {
      flows.push(flow);
      // Thousands of policies may be about a pod, and who denies is not what the agent is there for.
      await nextTurn();
    }
    flows.sort((a, b) => b.packets - a.packets);
    for (const flow of flows) this.#recent.add(flow);
    for (const flow of flows.slice(0, LINES)) log.info(fieldsOf(flow), `${flow.verdict} by policy`);
    const rest = flows.slice(LINES);
    if (rest.length + omitted === 0) return;
    const packets = rest.reduce((sum, flow) => sum + flow.packets, omitted);
    const fields = { flows: rest.length, packets, see: 'flatnet policy denied' };
    log.info(fields, 'further connections denied or logged by policy');
  }

  #sceneOf({ cluster, subjects, waiting }: NodePolicies): Scene {
    return {
      cluster,
      subjects: [...subjects.values()].map(({ pod }) => pod),
      waiting: new Map(waiting.flatMap((pod) => pod.addresses.map((ip) => [ip, podTitle(pod)]))),
      deviceName: (index) => deviceName(index, this.#options.netns),
    };
  }
}

function unheard(group: number, error: unknown): Problem {
  const isTaken = error instanceof FlatnetError && error.errno === 'EPERM';
  return warning(
    'policy-log-unheard',
    'connections that policies deny, or want logged, are not logged',
    isTaken
      ? `another program listens to group ${group} of NFLOG, or this one lacks CAP_NET_ADMIN`
      : `group ${group} of NFLOG: ${messageOf(error)}`,
    isTaken ? 'choose another logGroup in policy' : 'modprobe nfnetlink_log',
  );
}

/** Undefined if it has gone. */
function deviceName(index: number, netns: string | undefined): string | undefined {
  using socket = NetlinkSocket.open(NETLINK_ROUTE, { netns });
  try {
    return socket.getSync(linkGet(index))?.name;
  } catch (error) {
    if (error instanceof FlatnetError && error.errno === 'ENODEV') return undefined;
    return `device ${index}: ${messageOf(error)}`;
  }
}

/** A line of the log: addresses with their names, and nothing that is absent. */
function fieldsOf({ from, to, icmp, verdict: _, ...rest }: LoggedFlow): object {
  return { from: endText(from), to: endText(to), ...(icmp && { icmp: icmpText(icmp) }), ...rest };
}

function endText({ ip, pod, node }: LoggedFlow['from']): string {
  const name = pod ?? (node === undefined ? undefined : `node ${node}`);
  return name === undefined ? ip : `${name} (${ip})`;
}

function icmpText({ type, code }: NonNullable<LoggedFlow['icmp']>): string {
  return `type ${type} code ${code}`;
}
