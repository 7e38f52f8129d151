import { unary } from './grpc.ts';
import { type Decoded, decode, encode, type Message, type Schema } from './protobuf.ts';

// The messages of the Container Runtime Interface, version 1, that the tests use. Names and numbers are those
// of k8s.io/cri-api/pkg/apis/runtime/v1/api.proto.
const METADATA = {
  name: [1, 'string'],
  uid: [2, 'string'],
  namespace: [3, 'string'],
  attempt: [4, 'number'],
} as const;
const PORT_MAPPING = {
  protocol: [1, 'number'],
  container_port: [2, 'number'],
  host_port: [3, 'number'],
} as const;
const STRINGS = { key: [1, 'string'], value: [2, 'string'] } as const;
const SANDBOX_CONFIG = {
  metadata: [1, METADATA],
  hostname: [2, 'string'],
  port_mappings: [5, PORT_MAPPING, 'repeated'],
  annotations: [7, STRINGS, 'repeated'],
  linux: [8, { cgroup_parent: [1, 'string'] }],
} as const;
const CONTAINER_CONFIG = {
  metadata: [1, { name: [1, 'string'], attempt: [2, 'number'] }],
  image: [2, { image: [1, 'string'] }],
  command: [3, 'string', 'repeated'],
} as const;
const SANDBOX_ID = { pod_sandbox_id: [1, 'string'] } as const;
const CONTAINER_ID = { container_id: [1, 'string'] } as const;
const SANDBOX_STATUS = {
  state: [3, 'number'],
  network: [5, { ip: [1, 'string'], additional_ips: [2, { ip: [1, 'string'] }, 'repeated'] }],
} as const;
const CONDITION = {
  type: [1, 'string'],
  status: [2, 'boolean'],
  reason: [3, 'string'],
  message: [4, 'string'],
} as const;
const NOTHING = {} as const;

/** Request and response of each call. */
const RUNTIME = {
  Version: [{ version: [1, 'string'] }, { runtime_name: [2, 'string'], runtime_version: [3, 'string'] }],
  Status: [NOTHING, { status: [1, { conditions: [1, CONDITION, 'repeated'] }] }],
  RunPodSandbox: [{ config: [1, SANDBOX_CONFIG] }, SANDBOX_ID],
  StopPodSandbox: [SANDBOX_ID, NOTHING],
  RemovePodSandbox: [SANDBOX_ID, NOTHING],
  PodSandboxStatus: [SANDBOX_ID, { status: [1, SANDBOX_STATUS] }],
  ListPodSandbox: [NOTHING, { items: [1, { id: [1, 'string'], state: [3, 'number'] }, 'repeated'] }],
  CreateContainer: [
    { pod_sandbox_id: [1, 'string'], config: [2, CONTAINER_CONFIG], sandbox_config: [3, SANDBOX_CONFIG] },
    CONTAINER_ID,
  ],
  StartContainer: [CONTAINER_ID, NOTHING],
  ExecSync: [
    { container_id: [1, 'string'], cmd: [2, 'string', 'repeated'], timeout: [3, 'number'] },
    { stdout: [1, 'bytes'], stderr: [2, 'bytes'], exit_code: [3, 'number'] },
  ],
} as const satisfies Record<string, readonly [Schema, Schema]>;

const IMAGES = {
  ImageStatus: [{ image: [1, { image: [1, 'string'] }] }, { image: [1, { id: [1, 'string'] }] }],
} as const;

type Calls = typeof RUNTIME;
export type SandboxConfig = Message<typeof SANDBOX_CONFIG>;
export const SANDBOX_READY = 0;

/** Timeout in milliseconds, the same as the kubelet's. */
const PATIENCE = 60_000;

/** A container runtime as the kubelet sees it. */
export class Cri {
  readonly socketPath: string;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  async call<M extends keyof Calls>(method: M, request: Message<Calls[M][0]>): Promise<Decoded<Calls[M][1]>> {
    const [input, output]: readonly [Calls[M][0], Calls[M][1]] = RUNTIME[method];
    const path = `runtime.v1.RuntimeService/${method}`;
    return decode(output, await unary(this.socketPath, path, encode(input, request), PATIENCE));
  }

  async hasImage(name: string): Promise<boolean> {
    const [input, output] = IMAGES.ImageStatus;
    const request = encode(input, { image: { image: name } });
    const path = 'runtime.v1.ImageService/ImageStatus';
    return decode(output, await unary(this.socketPath, path, request, PATIENCE)).image !== undefined;
  }

  /** Returns `NetworkReady` or `RuntimeReady`, with the reason if it is false. */
  async condition(type: string): Promise<{ status: boolean; reason: string; message: string }> {
    const { status } = await this.call('Status', {});
    const found = status?.conditions.find((condition) => condition.type === type);
    if (!found) throw new Error(`no condition ${type}`);
    return found;
  }
}
