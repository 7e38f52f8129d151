import { BUSYBOX } from './archive.ts';

/** Where its web servers listen. */
export const PORT = 8080;

/** Answers `/cgi-bin/peer` with the pod's name and the address it sees the client have. */
const SERVE = [
  'mkdir -p /www/cgi-bin',
  `printf '#!/bin/sh\\necho; echo $(hostname) $(echo $REMOTE_ADDR | tr -d [] | sed s/::ffff://)\\n' >/www/cgi-bin/peer`,
  'chmod +x /www/cgi-bin/peer',
  'dd if=/dev/zero of=/www/megabyte bs=1M count=1 2>/dev/null',
  `exec httpd -f -p ${PORT} -h /www`,
].join('; ');

type ServerOptions = {
  readonly node?: string;
  readonly hostPort?: number;
  readonly annotations?: Readonly<Record<string, string>>;
};

function template(app: string, { node, hostPort, annotations = {} }: ServerOptions) {
  return {
    metadata: { labels: { app }, annotations },
    spec: {
      ...(node !== undefined && { nodeName: node }),
      terminationGracePeriodSeconds: 1,
      dnsPolicy: 'Default',
      // A node that was away keeps its pods.
      tolerations: [{ operator: 'Exists' }],
      topologySpreadConstraints: [
        {
          maxSkew: 1,
          topologyKey: 'kubernetes.io/hostname',
          whenUnsatisfiable: 'DoNotSchedule',
          labelSelector: { matchLabels: { app } },
        },
      ],
      containers: [
        {
          name: 'server',
          image: BUSYBOX,
          imagePullPolicy: 'Never',
          command: ['sh', '-c', SERVE],
          ports: [{ containerPort: PORT, ...(hostPort !== undefined && { hostPort }) }],
        },
      ],
    },
  };
}

/** `replicas` web servers, spread over the nodes. */
export function deployment(app: string, replicas: number, options: ServerOptions = {}): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { namespace: 'default', name: app },
    spec: { replicas, selector: { matchLabels: { app } }, template: template(app, options) },
  };
}

/** One web server. */
export function serverPod(app: string, options: ServerOptions = {}): object {
  const { metadata, spec } = template(app, options);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, namespace: 'default', name: app },
    spec,
  };
}

/** A Service for its servers, on port 80 and a node port, in all families. */
export function service(app: string, nodePort: number): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'default', name: app },
    spec: {
      type: 'NodePort',
      ipFamilyPolicy: 'PreferDualStack',
      selector: { app },
      ports: [{ port: 80, targetPort: PORT, nodePort }],
    },
  };
}
