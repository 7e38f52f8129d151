import type { PolicyFigures } from './policy/figures.ts';
import type { AgentStatus } from './status.ts';

/** What the process itself adds to the status; memory in bytes, times in seconds. */
export type ProcessFigures = {
  readonly memory: number;
  readonly cpu: number;
  readonly startTime: number;
};

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [value: number, labels?: Labels];

const PACKETS = 'Packets of the backend’s own program, by what became of them.';

function byFate([fate, count]: readonly [string, number]): Sample {
  return [count, { fate }];
}

/** Writes a node's status in Prometheus' text format, version 0.0.4. */
export function metricsText(status: AgentStatus, figures: ProcessFigures): string {
  const { ready, peers, pods, reconcile, problems, store, backend, packets, policies } = status;
  const gauge = (name: string, help: string, ...samples: readonly Sample[]): string =>
    family(name, 'gauge', help, samples);
  const counter = (name: string, help: string, value: number): string =>
    family(name, 'counter', help, [[value]]);
  const kinds = new Map<string, [number, Labels]>();
  for (const { id, severity } of problems) {
    const labels = { id, severity };
    const count = kinds.get(`${id} ${severity}`)?.[0] ?? 0;
    kinds.set(`${id} ${severity}`, [count + 1, labels]);
  }
  const renewed = store.lastRenewal && Date.parse(store.lastRenewal) / 1000;
  return [
    gauge('flatnet_ready', 'Whether this node takes pods.', [Number(ready)]),
    ...(backend ? [gauge('flatnet_backend_info', 'The network’s backend.', [1, { type: backend }])] : []),
    gauge('flatnet_peers', 'Other nodes of the cluster.', [peers]),
    gauge('flatnet_pods', 'Pods attached to this node.', [pods.length]),
    ...(packets
      ? [family('flatnet_packets_total', 'counter', PACKETS, Object.entries(packets).map(byFate))]
      : []),
    ...(policies ? policyFamilies(policies) : []),
    gauge('flatnet_problems', 'Lines of the status, by kind.', ...kinds.values()),
    gauge('flatnet_refused_changes', 'What the kernel refuses now.', [reconcile.failures.length]),
    counter('flatnet_reconcile_runs_total', 'Runs that changed the kernel or failed to.', reconcile.runs),
    gauge('flatnet_store_connected', 'Whether the store confirms this node.', [Number(store.connected)]),
    ...(renewed
      ? [gauge('flatnet_store_confirmed_timestamp_seconds', 'When it last confirmed it.', [renewed])]
      : []),
    gauge('process_resident_memory_bytes', 'Resident memory.', [figures.memory]),
    counter('process_cpu_seconds_total', 'Processor time.', figures.cpu),
    gauge('process_start_time_seconds', 'Start of the agent.', [figures.startTime]),
  ].join('');
}

function policyFamilies({ denied, lastChange, ...figures }: PolicyFigures): readonly string[] {
  const by = (direction: string, count: number): Sample => [count, { direction }];
  const { ingress, egress, unprotected } = denied;
  return [
    family('flatnet_policies', 'gauge', 'Network policies of the cluster.', [[figures.policies]]),
    family('flatnet_policies_refused', 'gauge', 'Those that cannot be read; staged ones close no pods.', [
      [figures.refused, { staged: 'false' }],
      [figures.refusedStaged, { staged: 'true' }],
    ]),
    family('flatnet_policy_elements', 'gauge', 'Elements of their sets in the kernel.', [[figures.elements]]),
    family(
      'flatnet_policy_denied_packets_total',
      'counter',
      'Packets denied since the tables were written.',
      [by('ingress', ingress), by('egress', egress), by('unprotected', unprotected)],
    ),
    family(
      'flatnet_policy_unlogged_packets_total',
      'counter',
      'Packets, at least, that a limit or a full queue kept from being logged.',
      [[figures.unlogged]],
    ),
    ...(figures.staged.length === 0
      ? []
      : [
          family(
            'flatnet_policy_staged_packets_total',
            'counter',
            'Packets that staged policies would treat otherwise.',
            [
              ...figures.staged.flatMap(({ policy, wouldDeny, wouldAllow }): Sample[] => [
                [wouldDeny, { policy, would: 'deny' }],
                [wouldAllow, { policy, would: 'allow' }],
              ]),
            ],
          ),
        ]),
    ...(lastChange === undefined
      ? []
      : [
          family('flatnet_policy_last_change_seconds', 'gauge', 'How long the last change took.', [
            [lastChange],
          ]),
        ]),
  ];
}

function family(name: string, type: string, help: string, samples: readonly Sample[]): string {
  const lines = samples.map(([value, labels]) => `${name}${labelsText(labels)} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`;
}

function labelsText(labels: Labels = {}): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length > 0 ? `{${pairs.join(',')}}` : '';
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
