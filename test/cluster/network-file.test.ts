import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { configuredBackend } from '../../src/backends/registry.ts';
import { readNetworkFile } from '../../src/cluster/network-file.ts';

/** As in flannel's manifest. */
const NET_CONF = `{
\t"Network": "10.244.0.0/16",
\t"EnableNFTables": false,
\t"Backend": {
\t\t"Type": "vxlan"
\t}
}
`;

const YAML = `# the same in our form
network: 10.244.0.0/16
backend:
  type: vxlan
`;

describe('readNetworkFile', () => {
  it('reads JSON and YAML to the same network, told apart by content without a known extension', () => {
    const expected = readNetworkFile(NET_CONF, 'net-conf.json');
    assert.equal(expected.pools[4]?.cidr, '10.244.0.0/16');
    for (const [text, name] of [
      [NET_CONF, 'config'],
      [NET_CONF, 'network.yaml'],
      [`\uFEFF${NET_CONF}`, 'net-conf.json'],
      [YAML, 'network.yaml'],
      [YAML, '/dev/stdin'],
      ['{network: 10.244.0.0/16, backend: {type: vxlan}}', 'flow.yml'],
    ] as const) {
      assert.deepEqual(readNetworkFile(text, name), expected, name);
    }
  });

  it('reads IPv6 networks and our masquerading from YAML', () => {
    const network = readNetworkFile(
      'enableIPv4: false\nenableIPv6: true\nnetwork: 0.0.0.0/0\nipv6Network: fd00:10:244::/56\n' +
        'masquerade:\n  randomFully: false\n  exclude:\n    - 10.0.0.0/8\n    - fd00::/8\n',
      'network.yaml',
    );
    assert.deepEqual(Object.keys(network.pools), ['6']);
    assert.deepEqual(network.masquerade, {
      enabled: true,
      randomFully: false,
      exclude: ['10.0.0.0/8', 'fd00::/8'],
    });
  });

  it('takes the last of two equal keys in JSON, as Go does', () => {
    const text = '{"Network": "10.1.0.0/16", "network": "10.2.0.0/16"}';
    assert.equal(readNetworkFile(text, 'net-conf.json').pools[4]?.cidr, '10.2.0.0/16');
  });

  it('reads the examples of the documentation', () => {
    const text = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
    const examples = [...text.matchAll(/```(json|yaml)\n(.*?)```/gs)];
    const types = examples
      .filter(([, , example = '']) => /\b(network|backend)"?:/i.test(example))
      .map(([, kind, example = '']) => {
        // Some show a backend alone.
        const whole = /^\W*network\b/im.test(example) ? example : `network: 10.244.0.0/16\n${example}`;
        const network = readNetworkFile(whole, `example.${kind}`);
        configuredBackend(network);
        return network.backend.type;
      });
    assert.deepEqual(types, ['vxlan', 'vxlan', 'alloc', 'extension']);
  });

  const cases: [string, string, string, RegExp][] = [
    [
      'a wrong field',
      'network.yaml',
      'network: 10.244.0.0/99',
      /^network\.yaml: Network: '10\.244\.0\.0\/99' is not a network/,
    ],
    [
      'broken JSON',
      'net-conf.json',
      '{\n  "Network": \n}',
      /^net-conf\.json: Unexpected token '}'.*is not valid JSON/s,
    ],
    ['broken YAML', 'network.yaml', 'network: 10.244.0.0/16\nbackend: [\n', /^network\.yaml:\d+:\d+: /],
    ['a key twice in YAML', 'network.yaml', 'network: a\nnetwork: b\n', /^network\.yaml:2:1: .*unique/],
    ['two documents', 'network.yaml', `${YAML}---\n${YAML}`, /^network\.yaml:5:1: .*multiple documents/],
    ['an empty file', 'network.yaml', '', /^network\.yaml: configuration: must be an object, not null/],
    ['text', 'network.yaml', 'hello', /^network\.yaml: configuration: must be an object, not "hello"/],
  ];
  for (const [what, filename, text, message] of cases) {
    it(`refuses ${what}, naming file and position`, () =>
      assert.throws(() => readNetworkFile(text, filename), { code: 'CONFIG_INVALID', message }));
  }
});
