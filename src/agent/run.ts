import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Network } from '../cluster/network.ts';
import { podTitle, type Underlay } from '../cluster/node.ts';
import type { Resources } from '../cluster/resources.ts';
import { liveHandles, loadAttachments } from '../cni/records/local-pod.ts';
import { CniService } from '../cni/service.ts';
import { setPodMtu } from '../cni/wiring/pod-end.ts';
import { BgpSpeaker } from '../companions/bird/companion.ts';
import type { BgpPool } from '../companions/bird/configuration/facts.ts';
import { foundTunnel } from '../companions/bird/found-tunnel.ts';
import { bgpHandlers } from '../companions/bird/status/handlers.ts';
import { codeOf, messageOf } from '../error.ts';
import { forwardFacts } from '../firewall/facts.ts';
import { ForwardWatch } from '../firewall/watch.ts';
import { FAMILIES } from '../ip/address.ts';
import type { Log } from '../log.ts';
import { changeCommand, changeText, command } from '../state/print.ts';
import { openStore } from '../store/open.ts';
import { readView } from '../store/view-file.ts';
import { aborted } from './aborted.ts';
import { Agent } from './agent.ts';
import { type Handler, LocalApi } from './api/server.ts';
import { Blocks } from './blocks.ts';
import { cniContext } from './cni-context.ts';
import { AgentLock } from './lock.ts';
import { Membership } from './membership.ts';
import { AGENT_SOCKET, type AgentOptions } from './options.ts';
import { previousSubnets, writeOutputs } from './outputs.ts';
import { untilDone } from './retry.ts';
import { UnderlayWatch } from './underlay/watch.ts';
import { ViewWriter } from './view-writer.ts';

/** Milliseconds between looks for what crashes and missed DELs left behind. */
const GARBAGE_INTERVAL = 5 * 60_000;

/**
 * Runs this node's agent until `signal` aborts. Stopping changes nothing: pods keep talking, the lease stays and runs out by itself
 * (invariant 4). Throws AGENT_RUNNING when another agent has the node, and what makes a start hopeless.
 */
export async function runAgent(options: AgentOptions, log: Log, signal: AbortSignal): Promise<void> {
  using _lock = await AgentLock.take();
  const { paths } = options;
  for (const dir of [paths.run, paths.state]) mkdirSync(dir, { recursive: true, mode: 0o700 });
  const previous = await previousSubnets(paths.subnetFile, log);
  const viewFile = join(paths.state, 'view.json');

  const failed = Promise.withResolvers<never>();
  const watching = (what: string, work: Promise<unknown>): Promise<unknown> =>
    work.catch((error: unknown) => {
      if (signal.aborted) return;
      log.error({ what, error: messageOf(error) }, 'the agent can’t go on');
      failed.reject(error);
    });

  using agent = new Agent(options, loadAttachments(paths.state), log, {
    onFacts: () => {
      membership.update();
      if (agent.network?.addresses === 'blocks' && membership.joined) blocks.followPools();
    },
    onSettled: ({ self, nodes, network }) => {
      const pools = bgpPools(network, agent.resources);
      const podNetworks = pools.map(({ cidr }) => cidr);
      forward.update(forwardFacts(podNetworks, network, self.underlay, agent.desired?.items ?? []));
      if (network.backend.type !== 'bgp') return;
      speaker ??= new BgpSpeaker({
        folder: join(paths.run, 'bird'),
        secrets: join(paths.state, 'secrets'),
        log,
        signal,
        onProblem: (reason) => agent.bgpIs(reason),
      });
      speaker.update({ self, nodes, resources: agent.resources, pools });
    },
    onForeignTable: () => forward.look(),
    onDevice: () => speaker?.deviceMade(),
    onReady: (desired) => {
      void untilDone('write the files of CNI', () => writeOutputs(agent, desired), { signal, log })
        .then(() => log.info({ subnets: agent.subnets, mtu: desired.mtu }, 'ready'))
        .then(() => followMtu(agent, log))
        .catch((error: unknown) => {
          if (!signal.aborted) failed.reject(error);
        });
    },
  });
  let speaker: BgpSpeaker | undefined;
  await using _speaker = { [Symbol.asyncDispose]: async () => speaker?.[Symbol.asyncDispose]() };
  const forward = new ForwardWatch(log, signal);
  const store = openStore(options.store, log);
  const blocks = new Blocks(agent, store, log, signal);
  const membership = new Membership({
    store,
    log,
    signal,
    previous,
    facts: () => agent.published(),
    onSubnets: (subnets) => agent.subnetsAre(subnets),
    onProblem: (reason, error) => {
      agent.trouble(reason);
      if (codeOf(error) === 'STORE_UNAVAILABLE') agent.trustMemory();
    },
    onLost: () => agent.subnetsLost(),
  });
  await using cni = new CniService(cniContext(agent, blocks.assigner, log));

  const found = (now: Underlay) => agent.underlayIs(now);
  using underlay = new UnderlayWatch({ wish: options, node: options.node, log, found });

  const tunnel = await foundTunnel();
  if (tunnel) agent.tunnelWas(tunnel.address);
  // A start while the store is away: the last good view, and the subnets of this node in it, are as good as any.
  const remembered = await readView(viewFile);
  if (remembered) {
    await underlay.peersAre(remembered.nodes);
    agent.clusterIs(remembered, false);
    const self = remembered.nodes.find(({ name }) => name === options.node);
    // subnet.env is written as soon as they change, the view some time later.
    const told = Object.values(previous);
    const subnets = told.length > 0 ? told : self?.subnets;
    if (subnets) agent.subnetsWere(subnets);
  }
  using _notes = cni.followNotedDels();
  await cni.collectGarbage();

  const tasks = [
    watching('watch the underlay', underlay.run(signal)),
    watching('hold the subnets', membership.run()),
    watching('follow the cluster', followCluster(agent, underlay, store, viewFile, log, signal)),
  ];
  agent.reconciler.start(signal);
  blocks.start(
    () => new Set(liveHandles(paths.state)),
    () => membership.joined,
  );
  const garbage = setInterval(() => {
    cni.collectGarbage().catch((error: unknown) => log.warn({ error: messageOf(error) }, 'collect garbage'));
  }, GARBAGE_INTERVAL);
  const handlers: Record<string, Handler> = {
    ...bgpHandlers(() => speaker?.running),
    cni: (request) => cni.handle(request),
    status: async () => ({
      ...agent.status([...(speaker?.warnings ?? []), ...forward.problems]),
      store: { connected: membership.joined },
    }),
    diff: async () => ({ changes: (await agent.reconciler.preview()).map(changeText) }),
    desired: async () => ({
      commands: [...agent.reconciler.desired.values()].map((item) => command(item, 'add')),
    }),
    reconcile: async () => {
      const { done, failed, waiting, duration } = await agent.reconciler.run();
      return {
        done: done.map(changeCommand),
        failed: failed.map(({ error }) => messageOf(error)),
        waiting: waiting.map(({ reason }) => reason),
        duration,
      };
    },
  };
  try {
    await using _api = await LocalApi.listen(join(paths.run, AGENT_SOCKET), handlers);
    log.info({ node: options.node, pid: process.pid }, 'agent started');
    await Promise.race([failed.promise, aborted(signal)]);
    log.info({ node: options.node }, 'agent stops; the kernel stays as it is');
  } finally {
    clearInterval(garbage);
    store.close();
    if (signal.aborted) await Promise.all(tasks);
  }
}

/** What the cluster's pods have addresses of: Calico's pools, or a leased network's own, which BIRD routes without a tunnel. */
function bgpPools(network: Network, { ipPools }: Resources): BgpPool[] {
  if (network.addresses === 'blocks') return [...ipPools];
  const leased = FAMILIES.flatMap((family) => network.pools[family]?.cidr ?? []);
  return leased.map((cidr) => ({ cidr, ipipMode: 'Never', disableBgpExport: false }));
}

/** Pods that run already get the MTU that new ones get; one that is just going away is no matter. */
async function followMtu(agent: Agent, log: Log): Promise<void> {
  for (const pod of agent.pods.list()) {
    if (pod.foreign) continue;
    // It may change again meanwhile.
    const { mtu } = agent;
    const name = podTitle(pod);
    await setPodMtu(pod, mtu).then(
      (changed) => changed && log.info({ pod: name, mtu }, 'MTU of a running pod set'),
      (error: unknown) => log.warn({ pod: name, error: messageOf(error) }, 'MTU of a running pod not set'),
    );
  }
}

/** Follows the cluster in the store, and keeps the last view on disk for a start without it. */
async function followCluster(
  agent: Agent,
  underlay: UnderlayWatch,
  store: ReturnType<typeof openStore>,
  viewFile: string,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  await using writer = new ViewWriter(viewFile, log);
  const network = await untilDone('read the network configuration', () => store.network.read(), {
    signal,
    log,
    failed: (reason) => agent.trouble(reason),
  });
  agent.networkIs(network);
  for await (const view of store.feed.watch(signal)) {
    // A narrower way must count before the first packet takes it.
    await underlay.peersAre(view.nodes);
    agent.clusterIs(view, true);
    writer.write(view);
  }
}
