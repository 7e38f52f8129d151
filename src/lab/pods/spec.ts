/** A pod to be created. */
export type PodSpec = {
  readonly namespace: string;
  readonly name: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Passed to CNI, e.g. `cni.projectcalico.org/ipAddrs`. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly owner?: string;
  /** The hash of the template it is created from. */
  readonly template?: string;
  readonly containers: readonly ContainerSpec[];
};

export type ContainerSpec = {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env: readonly EnvVar[];
  readonly workingDir?: string;
  /** TCP ports to listen on in the pod. */
  readonly ports: readonly number[];
};

export type EnvVar = { readonly name: string } & (
  | { readonly value: string }
  /** A field of the pod itself (the downward API), e.g. `status.podIP`. */
  | { readonly field: PodField }
);

export const POD_FIELDS = [
  'metadata.name',
  'metadata.namespace',
  'spec.nodeName',
  'status.podIP',
  'status.podIPs',
  'status.hostIP',
] as const;
export type PodField = (typeof POD_FIELDS)[number];

/** The container for `--listen PORT`. */
export function listener(ports: readonly number[]): ContainerSpec[] {
  return ports.length ? [{ name: 'listen', image: 'whoami', env: [], ports }] : [];
}
