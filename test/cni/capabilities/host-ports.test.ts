import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fields } from '../../../src/cluster/fields.ts';
import { checkFamilies, readHostPorts } from '../../../src/cni/capabilities/host-ports.ts';
import { parseIp } from '../../../src/ip/address.ts';

const read = (...portMappings: unknown[]) => readHostPorts(new Fields({ runtimeConfig: { portMappings } }));

test('port mappings as containerd, Podman and people write them', () => {
  assert.deepEqual(
    read(
      { HostPort: 8080, ContainerPort: 80, Protocol: 'tcp', HostIP: '' },
      { hostPort: 53, containerPort: 5353, protocol: 'UDP', hostIP: '192.0.2.1' },
      { hostPort: 36412, containerPort: 36412, protocol: 'SCTP', hostIP: '::' },
      { hostPort: 9090, containerPort: 90 },
    ),
    [
      { protocol: 'tcp', hostPort: 8080, containerPort: 80 },
      { protocol: 'udp', hostPort: 53, containerPort: 5353, hostIp: '192.0.2.1' },
      { protocol: 'sctp', hostPort: 36412, containerPort: 36412, hostIp: '::' },
      { protocol: 'tcp', hostPort: 9090, containerPort: 90 },
    ],
  );
});

test('a mapping without a host port asks for nothing, and a repeated one for nothing more', () => {
  assert.deepEqual(read({ hostPort: 0, containerPort: 80 }, { containerPort: 81, protocol: 'tcp' }), []);
  const web = { hostPort: 80, containerPort: 8080 };
  assert.equal(read(web, { ...web, protocol: 'tcp' }).length, 1);
  assert.equal(read(web, { ...web, hostIP: '127.0.0.1' }, { ...web, protocol: 'udp' }).length, 3);
  assert.deepEqual(readHostPorts(new Fields({})), []);
});

test('a mapping that cannot be served is refused by name', () => {
  for (const [mapping, message] of [
    [{ hostPort: 65536, containerPort: 80 }, /portMappings\[0\]\.hostPort: must be a whole number/],
    [{ hostPort: 80 }, /portMappings\[0\]\.containerPort: is missing/],
    [{ hostPort: 80, containerPort: 0 }, /portMappings\[0\]\.containerPort/],
    [{ hostPort: 80, containerPort: 80, protocol: 'icmp' }, /protocol: must be tcp, udp, sctp, not 'icmp'/],
    [{ hostPort: 80, containerPort: 80, hostIP: 'node1' }, /hostIP: 'node1' is not an IP address/],
    ['80:80', /portMappings\[0\]: must be an object/],
  ] as const)
    assert.throws(() => read(mapping), message);
  const two = [80, 81].map((containerPort) => ({ hostPort: 8080, containerPort }));
  assert.throws(() => read(...two), /portMappings\[1\]\.hostPort: 8080\/tcp already leads to port 80/);
  const ports = read({ hostPort: 80, containerPort: 80, hostIP: '::1' });
  assert.throws(() => checkFamilies(ports, [parseIp('10.0.0.2')], [4, 6]), /the pod has no IPv6 address/);
  checkFamilies(ports, [parseIp('10.0.0.2'), parseIp('fd00::2')], [4, 6]);
  checkFamilies(read({ hostPort: 80, containerPort: 80 }), [parseIp('10.0.0.2')], [4, 6]);
});
