import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { background, logFailure } from '../async/background.ts';
import { aborted, pause } from '../async/pause.ts';
import { configuredBackend } from '../backends/registry.ts';
import type { Network } from '../cluster/network.ts';
import { liveHandles, loadAttachments } from '../cni/records/local-pod.ts';
import { CniService } from '../cni/service.ts';
import { Companions } from '../companions/companions.ts';
import { Leases } from '../dhcp/leases.ts';
import { messageOf } from '../error.ts';
import { forwardFacts } from '../firewall/facts.ts';
import { ForwardWatch } from '../firewall/watch.ts';
import { makeSysctlsWritable } from '../linux/proc-sys.ts';
import type { Log } from '../log.ts';
import { SelfTest } from '../probe/self-test.ts';
import { problemText } from '../problem.ts';
import { openStore, serversAt } from '../store/open.ts';
import { isShim } from '../wiring/shim.ts';
import { announce } from './announce.ts';
import { LocalApi } from './api/server.ts';
import { Blocks } from './blocks.ts';
import { cniContext } from './cni-context.ts';
import { collectDeparted } from './departed.ts';
import { Facts } from './facts.ts';
import { Feed } from './feed.ts';
import { Cut } from './flows/cut.ts';
import { forgetStaleFlows } from './flows/stale.ts';
import { Handover } from './handover.ts';
import { serveHealth } from './health-server.ts';
import { growFreely, settle } from './heap.ts';
import { leasesOptions } from './leases.ts';
import { lockNode } from './lock.ts';
import { Loop } from './loop.ts';
import { Membership } from './membership.ts';
import { operations } from './operations.ts';
import { AGENT_SOCKET, type AgentOptions } from './options.ts';
import { Outputs, previousSubnets } from './outputs.ts';
import { followPolicies, hearOfPackets, tryFlowtables } from './policies.ts';
import { Flowtables, offloadText } from './policy/flowtables.ts';
import { PolicyLog } from './policy/log.ts';
import { NameWatch } from './policy/names.ts';
import { PolicyWatch } from './policy/watch.ts';
import { notReady, obstacleTo } from './readiness.ts';
import { releasePorts } from './release.ts';
import { agentStatus } from './status.ts';
import { noteTroubles } from './troubles.ts';
import { tunnelMacs } from './underlay/tunnel-macs.ts';
import { UnderlayWatch } from './underlay/watch.ts';

/** Interval between scans for leftovers of crashes and missed DELs, in milliseconds. */
const GARBAGE_INTERVAL = 5 * 60_000;

/**
 * Runs this node's agent until `stop` aborts. Stopping changes nothing: pods keep their connectivity and the
 * lease stays until it expires. Throws AGENT_RUNNING when another agent serves this node, and
 * any error that makes starting impossible.
 */
export async function runAgent(options: AgentOptions, log: Log, stop: AbortSignal): Promise<void> {
  using _lock = await lockNode(log);
  makeSysctlsWritable();
  growFreely();
  const { paths, node } = options;
  for (const dir of [paths.run, paths.state]) mkdirSync(dir, { recursive: true, mode: 0o700 });
  const previous = await previousSubnets(paths.subnetFile, log);
  const failed = new AbortController();
  const signal = AbortSignal.any([stop, failed.signal]);

  // Facts and their derivation.
  const facts = new Facts(options, tunnelMacs(paths.state, log), loadAttachments(paths.state));
  const check = (network: Network) => void configuredBackend(network);
  const { store, servers } = await openStore(options.store, log, check);
  facts.setServers(serversAt(servers));
  const blocks = new Blocks(facts, store.blocks, log);
  const secrets = join(paths.state, 'secrets');
  const { assigner } = blocks;
  await using companions = new Companions({
    node,
    paths,
    holder: paths.birdHolder,
    allowExtension: options.allowExtension,
    secrets,
    assigner,
    log,
    signal,
  });
  connect(facts, companions);
  using loop = new Loop(facts, log);

  // Consumers.
  const firewall = new ForwardWatch(log, signal);
  await using outputs = new Outputs(paths, log, signal);
  loop.on('device', (link) => companions.deviceChanged(link));
  loop.on('done', (changes) => forgetStaleFlows(changes, log));
  loop.on('foreign-table', () => firewall.rescan());
  const policiesInForce = () => loop.computed?.desired.policies;
  const policyLog = new PolicyLog({ node: policiesInForce, log });
  const flowtables = new Flowtables();
  const offload = () => offloadText(facts.network?.policy, flowtables);
  const policies = new PolicyWatch(policiesInForce, policyLog, offload);
  loop.on('done', (changes) => policies.done(changes));
  loop.on('settled', ({ facts }) => policies.settled(facts.policies));
  facts.on('changed', () => policies.learned(facts.policy.view));
  const names = new NameWatch({
    wanted: () => loop.computed?.desired.policies?.wanted,
    setNames: (known) => facts.policy.setNames(known),
    applied: () => loop.run(),
    file: join(paths.state, 'names.json'),
    log,
  });
  await names.recall();
  loop.on('settled', () => names.noticed());
  const cut = new Cut({ applied: () => loop.run(), log, signal });
  loop.on('done', (changes, full) => full && cut.repaired(changes));
  loop.on('settled', ({ facts: { network }, desired }) =>
    cut.update(network.policy?.onChange === 'cut' ? desired.policies?.compiled.verdicts : undefined),
  );
  loop.on('settled', ({ facts: { self, network, peers, resources }, desired }) => {
    const tunnels = desired.contributions
      .filter(({ owner }) => owner.part === 'backend')
      .flatMap(({ items }) => items);
    firewall.update(forwardFacts(facts.podNetworks, network, self.underlay, tunnels));
    const isComplete = facts.isComplete && facts.nodes === peers;
    companions.update({ self, network, nodes: peers, resources, isComplete });
  });
  loop.on('ready', ({ facts: { self, network, pods }, desired: { mtu } }) =>
    outputs.write({ network, subnets: self.node.subnets, mtu, pods }),
  );
  // With a parent's MTU, the kernel lowers that of all who share it, and raises none (macvlan_device_event).
  loop.on('device', ({ name }) => {
    if (isShim(name)) outputs.again(facts.pods.list());
  });
  loop.once('ready', () => background('settle the heap', settle(signal), log));
  const withheld = () => companions.withholds;
  const membership = new Membership(facts, { cluster: store.membership, log, signal, previous, withheld });
  loop.on('settled', ({ facts: { self } }) => membership.settled(self.node));
  const others = () => ({
    feed: store.feed,
    policies: store.policies,
    kernel: loop.problem,
    companion: companions.problem,
  });
  const obstacle = () => obstacleTo(facts, { ...others(), opening: companions.opening });
  using leases = new Leases(leasesOptions(facts, log));
  const cni = cniContext({
    facts,
    notReady: () => notReady(facts, others()),
    mtu: () => loop.mtu,
    admit: async (pod) => (await loop.admit(pod)) ?? (await cut.refusal(pod)),
    left: (pod) => policiesInForce() && cut.leave(pod),
    release: (pod) => releasePorts(pod, { loop, log }),
    assigner,
    leases,
    log,
  });
  await using service = new CniService(cni);
  loop.on('vanished', (devices) => service.devicesVanished(devices));

  // Sources.
  using underlay = new UnderlayWatch({
    request: options,
    node,
    log,
    onChange: (underlay) => facts.setUnderlay(underlay),
    onHost: (host) => facts.setHost(host),
    onFailure: (reason) => facts.setObstacle('underlay', reason),
  });
  loop.on('event', (event) => underlay.notice(event));
  const handover = new Handover(companions, loop, { log, signal });
  const feed = new Feed({ facts, underlay, handover, store, log, signal });
  await feed.remember(previous);
  using _notes = service.followNotedDels();
  const collect = () => collectGarbage(service, facts);
  await collect();

  const task = async (what: string, work: Promise<void>): Promise<void> => {
    try {
      await work;
    } catch (error) {
      if (signal.aborted) return;
      log.error({ what, error: messageOf(error) }, 'the agent cannot continue');
      failed.abort(error);
    }
  };
  // Listens to the kernel from now on, also for the underlay.
  loop.start(signal);
  const tasks = [
    task('watch the underlay', underlay.run(signal)),
    task('hold the subnets', membership.run()),
    task('follow the cluster', feed.run()),
    task('hear of denied packets', hearOfPackets(facts, policyLog, signal)),
    task('follow network policies', followPolicies(facts, store, signal)),
    task('try to offload connections', tryFlowtables(facts, flowtables, signal)),
    task('watch what names stand for', names.run(signal)),
  ];
  const selfTest = new SelfTest(
    () => {
      if (!loop.computed) return undefined;
      const { facts, desired } = loop.computed;
      return { ...facts, mtu: desired.mtu };
    },
    log,
    signal,
  );
  background('test the ways to peers', selfTest.run(), log, signal);
  const sources = {
    facts,
    loop,
    companions,
    membership,
    feed: store.feed,
    policies: store.policies,
    policyLog,
    names,
    cut,
    underlay,
    firewall,
    cni: service,
    selfTest,
  };
  const problems = () => [obstacle() ?? [], agentStatus(sources, []).problems].flat();
  background('announce this node', announce(store.membership, { node, obstacle, log, signal }), log, signal);
  const troubles = noteTroubles(store.membership, { node, problems, signal });
  background('note troubles', troubles, log, signal);
  background('collect garbage', keepCollecting(collect, log, signal), log, signal);
  const usesBlocks = () => facts.isMember && facts.usesBlocks;
  const nodes = () => facts.nodes ?? [];
  const departed = { node, duties: store.duties, blocks: store.blocks, nodes, usesBlocks, log, signal };
  background('collect what departed nodes had', collectDeparted(departed), log, signal);
  background(
    'maintain addresses',
    blocks.keepUp(() => new Set(liveHandles(paths.state)), signal),
    log,
  );
  try {
    const handlers = operations(sources, service, policies);
    await using _api = await LocalApi.listen(join(paths.run, AGENT_SOCKET), handlers, log);
    const unready = () => {
      const found = obstacle();
      return found && problemText(found);
    };
    const status = async () => {
      const { figures, problems } = await policies.figures();
      return agentStatus(sources, problems, figures);
    };
    const health = { notReady: unready, status };
    await using _health = serveHealth(options.health, health, log, signal);
    log.info({ node, pid: process.pid }, 'agent started');
    await aborted(signal);
    failed.signal.throwIfAborted();
    log.info({ node }, 'agent stopping; kernel state is left in place');
  } finally {
    failed.abort();
    store.close();
    await Promise.all(tasks);
  }
}

/** Passes the facts to the companion, and its own facts back. */
function connect(facts: Facts, companions: Companions): void {
  const exchange = (): void => {
    if (facts.cluster) companions.learn(facts.cluster);
    facts.setCompanion(companions.facts);
  };
  facts.on('changed', exchange);
  companions.on('changed', exchange);
}

/** Also rebuilds the records that can be rebuilt; if none is left that cannot be read, all pods are known. */
async function collectGarbage(service: CniService, facts: Facts): Promise<void> {
  await service.collectGarbage();
  if (!service.problems.some(({ id }) => id === 'pod-record-unreadable')) facts.pods.complete();
}

async function keepCollecting(collect: () => Promise<void>, log: Log, signal: AbortSignal): Promise<void> {
  while (await pause(GARBAGE_INTERVAL, signal)) {
    await collect().catch((error: unknown) => logFailure('collect garbage', error, log));
  }
}
