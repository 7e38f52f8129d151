import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { BACKENDS, unknownKeys } from '../../../src/backends/registry.ts';
import { codeOf } from '../../../src/error.ts';
import { renderManifest } from '../../../tools/manifest/render.ts';
import { forSuite } from '../api-server.ts';
import { changedValues } from './changed-values.ts';
import { CHART, Helm, NO_HELM, objectsIn, type Values } from './helm.ts';

/** The process of udp would end with the agent's container, and needs a device that the DaemonSet lacks. */
const OFFERED = BACKENDS.map(({ type }) => type).filter((type) => type !== 'udp');

const MANIFEST = join(CHART, '../../flatnet.yaml');
const read = (file: string): Values => parse(readFileSync(file, 'utf8')) as Values;
const own = read(join(CHART, 'values.yaml'));
const presets = readdirSync(CHART).filter((name) => /^values-.*\.yaml$/.test(name));
const bgp = read(join(CHART, 'values-bgp.yaml'));

describe('the chart under Helm itself', { skip: NO_HELM }, () => {
  const helm = new Helm(forSuite());

  test('helm lint has nothing to say, for the chart’s own values and each preset', async () => {
    for (const values of [{}, ...presets.map((name) => read(join(CHART, name)))]) {
      const said = await helm.lint(values);
      assert.match(said, /1 chart\(s\) linted, 0 chart\(s\) failed/);
      assert.doesNotMatch(said, /WARNING|ERROR/);
    }
  });

  test('helm template prints deploy/flatnet.yaml’s objects, and the namespace if asked to', async () => {
    const manifest = objectsIn(readFileSync(MANIFEST, 'utf8'));
    assert.deepEqual(objectsIn(await helm.template({ createNamespace: true })), manifest);
    const without = new Map([...manifest].filter(([key]) => !key.startsWith('Namespace ')));
    assert.equal(without.size, manifest.size - 1);
    assert.deepEqual(objectsIn(await helm.template()), without);
  });

  test('a packaged chart is whole', async () => {
    const values = { createNamespace: true };
    assert.deepEqual(objectsIn(await helm.packaged(values)), objectsIn(await helm.template(values)));
  });

  const changes = [
    ...presets.map((name): [string, Values] => [name, read(join(CHART, name))]),
    ...changedValues(own).map(([path, values]): [string, Values] => [
      path,
      path.startsWith('bird.') ? { ...bgp, ...values } : values,
    ]),
    ['policies, which take more rights', { network: { policy: true } }],
    ['policies with the usual options', { network: { policy: {} } }],
    ['an option of the backend, a number', { network: { Backend: { VNI: 16_777_215 } } }],
    [
      'a limit, and a request that is removed',
      { resources: { requests: { cpu: null }, limits: { cpu: 2 } } },
    ],
    ['an image by its digest', { image: { tag: `1@sha256:${'0'.repeat(64)}` } }],
    ['a folder with a space', { cniBinDir: '/opt/a b/#c' }],
  ] satisfies [string, Values][];
  test('policies take more rights, with or without options', async () => {
    const rights = async (policy: unknown): Promise<boolean> =>
      objectsIn(await helm.template({ network: { policy } })).has('ClusterRole  flatnet-policy');
    assert.deepEqual(
      [await rights(true), await rights({}), await rights({ logDenied: true }), await rights(false)],
      [true, true, true, false],
    );
  });

  for (const [title, values] of changes) {
    test(`Helm renders as scripts/manifest does, and not as without: ${title}`, async () => {
      const rendered = objectsIn(await helm.template(values));
      assert.deepEqual(rendered, objectsIn(renderManifest({ createNamespace: false, ...values })));
      const before = title.startsWith('bird.') ? bgp : {};
      assert.notDeepEqual(rendered, objectsIn(await helm.template(before)));
    });
  }
});

/** Refused ones, and what Helm must name. */
const HOSTILE: readonly (readonly [Values, RegExp])[] = [
  [{ imagee: {} }, /additional properties 'imagee' not allowed/],
  [{ image: { tags: 'x' } }, /at '\/image': additional properties 'tags' not allowed/],
  [{ image: { tag: 1.1 } }, /at '\/image\/tag': got number, want string/],
  [{ image: { tag: null } }, /at '\/image': missing property 'tag'/],
  [{ image: { tag: 'a b' } }, /at '\/image\/tag': 'a b' does not match pattern/],
  [{ image: { repository: '' } }, /at '\/image\/repository': /],
  [{ image: { pullPolicy: 'always' } }, /at '\/image\/pullPolicy': value must be one of 'Always'/],
  [{ image: { pullSecrets: ['x'] } }, /at '\/image\/pullSecrets\/0': got string, want object/],
  // flatnet reads keys in any case: there would be two backends.
  [{ network: { backend: { Type: 5 } } }, /at '\/network': additional properties 'backend' not allowed/],
  [{ network: { Backend: { Type: 5 } } }, /at '\/network\/Backend\/Type': value must be one of 'vxlan'/],
  [{ network: { Backend: { Type: 'BGP' } } }, /at '\/network\/Backend\/Type': value must be one of 'vxlan'/],
  [{ network: { Backend: null } }, /at '\/network': missing property 'Backend'/],
  [{ network: { Backend: { VNI: '1' } } }, /at '\/network\/Backend\/VNI': got string, want integer/],
  [{ network: { Netwrok: 'x' } }, /at '\/network': additional properties 'Netwrok' not allowed/],
  [{ network: { EnableIPv6: 'true' } }, /at '\/network\/EnableIPv6': got string, want boolean/],
  [{ network: 'x' }, /at '\/network': got string, want object/],
  [{ healthzPort: '8081' }, /at '\/healthzPort': got string, want integer/],
  [{ healthzPort: 0 }, /at '\/healthzPort': minimum: got 0, want 1/],
  [{ cniBinDir: 'opt' }, /at '\/cniBinDir': 'opt' does not match pattern/],
  [{ allowExtension: 'yes' }, /at '\/allowExtension': got string, want boolean/],
  [{ extraArgs: '--x' }, /at '\/extraArgs': got string, want array/],
  [{ extraArgs: [1] }, /at '\/extraArgs\/0': got number, want string/],
  [{ resources: { limit: {} } }, /at '\/resources': additional properties 'limit' not allowed/],
  [{ bird: { resources: { requests: { cpu: [] } } } }, /at '\/bird\/resources\/requests\/cpu': got array/],
  [{ createNamespace: 'no' }, /at '\/createNamespace': got string, want boolean/],
];

describe('the chart’s schema', { skip: NO_HELM }, () => {
  const helm = new Helm(forSuite());

  for (const [values, why] of HOSTILE) {
    test(`refuses ${JSON.stringify(values)}, and names the field`, async () => {
      await assert.rejects(helm.template(values), (error: { stderr?: string }) => {
        assert.match(error.stderr ?? '', why);
        return true;
      });
    });
  }

  test('allows the same backends for each wiring and plan of addresses as agents do', async () => {
    for (const addresses of ['lease', 'blocks', 'dhcp'])
      for (const wiring of ['bridge', 'routed', 'macvlan'])
        for (const Type of OFFERED) {
          const network = { Network: '10.244.0.0/16', addresses, wiring, Backend: { Type } };
          assert.equal(await accepts({ network }), agentAccepts(network), JSON.stringify(network));
        }
  });

  test('knows the keys of the network that agents know, and one of flannel’s', () => {
    const { properties } = read(join(CHART, 'values.schema.json')) as Schema;
    const { Backend, ...keys } = properties?.network?.properties ?? {};
    const network = keysOf({ Network: '10.244.0.0/16' }, '');
    assert.deepEqual(Object.keys(keys).toSorted(), [...network, 'EnableNFTables'].toSorted());
    const options = BACKENDS.flatMap(({ type: Type }) =>
      keysOf({ Network: '10.244.0.0/16', wiring: 'routed', Backend: { Type } }, 'Backend'),
    );
    const { Type, ...others } = Backend?.properties ?? {};
    assert.deepEqual(Object.keys(others).toSorted(), [...new Set(options)].toSorted());
    assert.deepEqual(Type, { enum: OFFERED });
  });

  async function accepts(values: Values): Promise<boolean> {
    return helm.template(values).then(
      () => true,
      () => false,
    );
  }
});

type Schema = { readonly properties?: Readonly<Record<string, Schema>> };

/** The keys that agents know in the network or its object `within`: they list them where a strange one is. */
function keysOf(network: Values, within: 'Backend' | ''): string[] {
  const strange = 'x'.repeat(40);
  const { Backend = {} } = network as { Backend?: Values };
  const all = unknownKeys({ ...network, [strange]: 1, Backend: { ...Backend, [strange]: 1 } });
  const { fix = '' } = all.find(({ key }) => key === (within ? `${within}.${strange}` : strange)) ?? {};
  const keys = fix.replace(/^the keys are ?/, '').split(', ');
  return keys.filter((key) => key !== '' && key !== 'Backend');
}

function agentAccepts(network: Values): boolean {
  try {
    unknownKeys(network);
    return true;
  } catch (error) {
    assert.equal(codeOf(error), 'CONFIG_INVALID');
    return false;
  }
}
