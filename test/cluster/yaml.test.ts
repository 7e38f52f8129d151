import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readResources } from '../../src/cluster/calico/manifest.ts';
import { readDocuments } from '../../src/cluster/documents.ts';
import { readNetworkFile } from '../../src/cluster/network-file.ts';
import { readYaml } from '../../src/cluster/yaml.ts';

const readManifest = (text: string, filename: string) =>
  readResources(readDocuments(text, filename, 'CONFIG_INVALID'), filename);

const read = (text: string): unknown[] =>
  readYaml(text, 'f.yaml', 'CONFIG_INVALID').map(({ value }) => value);

test('an unquoted selector that begins with ! does not become an empty one', () => {
  const peer = (selector: string): string => `apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata:
  name: racks
spec:
  nodeSelector: ${selector}
  peerIP: 172.30.0.2
  asNumber: 65000
`;
  assert.throws(() => readManifest(peer('!has(rr)'), 'peers.yaml'), {
    code: 'CONFIG_INVALID',
    message: 'peers.yaml:6:17: !has(rr) is a tag in YAML: put the value in quotes',
  });
  const [document] = readManifest(peer('"!has(rr)"'), 'peers.yaml');
  assert.equal(document?.spec.nodeSelector, '!has(rr)');
});

/** Each would silently become something other than what is written. */
const REFUSED: Readonly<Record<string, readonly [string, RegExp]>> = {
  'a tag in a list': ['a: [x, !y z]', /^f\.yaml:1:8: !y is a tag/],
  'a tagged object': ['a: !Ref {b: 1}', /^f\.yaml:1:4: !Ref is a tag/],
  'a tagged key': ['!a b: 1', /1:1: !a is a tag/],
  'a bare exclamation mark': ['a: ! 5', /! is a tag/],
  'another language’s object': ['a: !!python/object x', /!!python\/object is a tag/],
  bytes: ['a: !!binary aGVsbG8=', /binary is a tag/],
  'a set': ['a: !!set {b, c}', /set is a tag/],
  'a tag in the second document': ['a: 1\n---\nb: !c d', /^f\.yaml:3:4: !c is a tag/],
  'a key twice': ['a: 1\na: 2', /^f\.yaml:2:1: .*unique/],
  'a key twice in JSON': ['{"a": {"b": 1, "b": 2}}', /unique/],
  'a number and its text as keys': ['1: a\n"1": b', /unique/],
  'a list as a key': ['? [a, b]\n: 1', /is not a key/],
  'a merge key': ['b: &b {c: 1}\na:\n  <<: *b', /^f\.yaml:3:3: merge keys/],
  'YAML 1.1, where `yes` is true': ['%YAML 1.1\n---\na: yes', /YAML 1\.1/],
  'an alias within its anchor': ['a: &a [1, *a]', /^f\.yaml:1:11: \*a contains itself/],
  'an alias deep within its anchor': ['a: &a {b: [{c: *a}]}', /\*a contains itself/],
  'an alias without an anchor': ['a: *b', /Unresolved alias/],
  'a billion laughs': [laughs(9), /alias/],
  'a hundred thousand lists in each other': [`a: ${'['.repeat(100_000)}`, /call stack|Flow sequence/],
};

for (const [what, [text, message]] of Object.entries(REFUSED)) {
  test(`YAML with ${what} is refused`, () =>
    assert.throws(() => read(text), { code: 'CONFIG_INVALID', message }));
}

test('a network file is read as strictly', () => {
  for (const text of [
    'network: !x 10.244.0.0/16',
    'a: &a {b: 1}\nbackend: {<<: *a}',
    'network: a\nnetwork: b',
  ]) {
    assert.throws(() => readNetworkFile(text, 'network.yaml'), {
      code: 'CONFIG_INVALID',
      message: /^network\.yaml:\d+:\d+: /,
    });
  }
  const twice = '{"Network": "10.1.0.0/16", "Network": "10.2.0.0/16"}';
  for (const name of ['net-conf.json', 'network.yaml']) {
    assert.throws(() => readNetworkFile(twice, name), {
      code: 'CONFIG_INVALID',
      message: /"Network" occurs twice|unique/,
    });
  }
});

test('tags of JSON’s own types, a few aliases, and empty documents are read', () => {
  assert.deepEqual(read('a: !!str 5\nb: !!int "5"\nc: &c [1]\nd: *c\n---\n---\n# nothing'), [
    { a: '5', b: 5, c: [1], d: [1] },
    null,
    null,
  ]);
});

test('any JSON is YAML of the same value', () => {
  const json = fc.jsonValue({ noUnicodeString: false, stringUnit: 'grapheme' });
  fc.assert(
    fc.property(json, (value) =>
      assert.deepEqual(read(JSON.stringify(value)), [JSON.parse(JSON.stringify(value))]),
    ),
  );
});

/** Ten aliases of ten aliases of … */
function laughs(depth: number): string {
  const lines = Array.from(
    { length: depth },
    (_, i) => `a${i + 1}: &a${i + 1} [${Array(10).fill(`*a${i}`).join()}]\n`,
  );
  return `a0: &a0 [lol]\n${lines.join('')}`;
}
