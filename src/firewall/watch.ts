import { existsSync, readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { Latest } from '../async/latest.ts';
import { messageOf } from '../error.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../linux/netlink/socket.ts';
import type { Log } from '../log.ts';
import { type Problem, problemText } from '../problem.ts';
import type { ForwardFacts } from './facts.ts';
import { forwardProblems } from './problems.ts';
import { readRuleset } from './read.ts';

/** Batching window in milliseconds: a restart of Docker or a firewall makes hundreds of changes. */
const GATHER = 200;
/**
 * Minimum pause between scans, in milliseconds: kube-proxy may change rules constantly, in thousands of
 * chains.
 */
const REST = 5000;

/** Scans the node's firewalls when the facts change, and when it is notified of foreign nftables changes. */
export class ForwardWatch {
  /** The latest result of `forwardProblems`. */
  problems: readonly Problem[] = [];
  readonly #log: Log;
  readonly #scans: Latest;
  #facts: ForwardFacts | undefined;
  #failure = '';

  constructor(log: Log, signal: AbortSignal) {
    this.#log = log;
    this.#scans = new Latest('read firewalls', () => this.#scan(), {
      log,
      signal,
      gather: GATHER,
      rest: REST,
    });
    if (hasLegacyFilter()) {
      log.info({}, 'iptables-legacy has a filter table; its rules are not checked');
    }
  }

  update(facts: ForwardFacts): void {
    if (isDeepStrictEqual(facts, this.#facts)) return;
    this.#facts = facts;
    this.rescan();
  }

  /** Schedules a scan; one scan covers all changes before it. */
  rescan(): void {
    this.#scans.push();
  }

  /** Failures are only logged: the node works without this check. */
  async #scan(): Promise<void> {
    if (!this.#facts) return;
    try {
      using socket = NetlinkSocket.open(NETLINK_NETFILTER);
      this.#onProblems(await forwardProblems(readRuleset(socket), this.#facts));
    } catch (error) {
      this.#onFailure(messageOf(error));
    }
  }

  #onProblems(problems: readonly Problem[]): void {
    this.#failure = '';
    const known = this.problems.map(problemText);
    for (const problem of problems.map(problemText)) {
      if (!known.includes(problem)) this.#log.warn({ problem }, 'pods are cut off');
    }
    this.problems = problems;
  }

  /** A chain may have disappeared while it was read, so scan again. */
  #onFailure(reason: string): void {
    if (reason !== this.#failure)
      this.#log.warn({ error: reason }, 'cannot check whether firewalls let pods through');
    this.#failure = reason;
    this.rescan();
  }
}

/** Whether iptables-legacy has filter rules, which nftables doesn't show. */
function hasLegacyFilter(): boolean {
  return ['ip_tables_names', 'ip6_tables_names'].some((name) => {
    const file = `/proc/net/${name}`;
    return existsSync(file) && readFileSync(file, 'utf8').split('\n').includes('filter');
  });
}
