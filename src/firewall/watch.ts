import { existsSync, readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { Latest } from '../async/latest.ts';
import { messageOf } from '../error.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../linux/netlink/socket.ts';
import type { Log } from '../log.ts';
import type { ForwardFacts } from './facts.ts';
import { forwardProblems } from './problems.ts';
import { readRuleset } from './read.ts';

/** Milliseconds: a restart of Docker or a firewall makes hundreds of changes. */
const GATHER = 200;
/** Milliseconds between looks: kube-proxy may never be quiet, and its chains may number thousands. */
const REST = 5000;

/**
 * Reads the node's firewalls when our facts change, and whenever it is told that somebody else changed
 * nftables.
 */
export class ForwardWatch {
  /** As `forwardProblems` found them last. */
  problems: readonly string[] = [];
  readonly #log: Log;
  readonly #looks: Latest;
  #facts: ForwardFacts | undefined;
  #failure = '';

  constructor(log: Log, signal: AbortSignal) {
    this.#log = log;
    this.#looks = new Latest('reading firewalls', () => this.#look(), {
      log,
      signal,
      gather: GATHER,
      rest: REST,
    });
    if (hasLegacyFilter()) {
      log.info(
        {},
        'iptables-legacy has a filter table; its rules are not checked for whether they let pods through',
      );
    }
  }

  update(facts: ForwardFacts): void {
    if (isDeepStrictEqual(facts, this.#facts)) return;
    this.#facts = facts;
    this.look();
  }

  /** Soon; one look answers for all that happened before it. */
  look(): void {
    this.#looks.push();
  }

  /** A node on which this cannot be found out works all the same. */
  async #look(): Promise<void> {
    if (!this.#facts) return;
    try {
      using socket = NetlinkSocket.open(NETLINK_NETFILTER);
      this.#found(await forwardProblems(readRuleset(socket), this.#facts));
    } catch (error) {
      this.#failed(messageOf(error));
    }
  }

  #found(problems: readonly string[]): void {
    this.#failure = '';
    for (const problem of problems) {
      if (!this.problems.includes(problem)) this.#log.warn({ problem }, 'pods are cut off');
    }
    this.problems = problems;
  }

  /** A chain may have gone while it was read: the next look tells. */
  #failed(reason: string): void {
    if (reason !== this.#failure)
      this.#log.warn({ error: reason }, 'unknown whether firewalls let pods through');
    this.#failure = reason;
    this.look();
  }
}

/** Rules of iptables-legacy are not in nftables. */
function hasLegacyFilter(): boolean {
  return ['ip_tables_names', 'ip6_tables_names'].some((name) => {
    const file = `/proc/net/${name}`;
    return existsSync(file) && readFileSync(file, 'utf8').split('\n').includes('filter');
  });
}
