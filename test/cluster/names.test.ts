import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { dnsLabel } from '../../src/cluster/names.ts';

const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);

describe('dnsLabel', () => {
  it('accepts every DNS label', () => {
    fc.assert(fc.property(label, (name) => assert.equal(dnsLabel('pod name', name), name)));
  });

  it('refuses everything else and suggests a valid label', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string({ unit: 'binary' }),
          label.map((l) => `${l}-`),
        ),
        (name) => {
          try {
            assert.match(dnsLabel('pod name', name), /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
          } catch (error) {
            assert.equal((error as { code?: unknown }).code, 'NAME_INVALID');
            const proposal = / as '([^']+)'$/.exec(String(error))?.[1];
            if (proposal !== undefined) assert.equal(dnsLabel('pod name', proposal), proposal);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  const fix = "use lower-case letters, digits and '-'";
  const cases: [string, string][] = [
    ['', `pod name: '' is empty; ${fix}`],
    ['Web_1', `pod name: 'Web_1' has 'W', which a DNS label cannot contain; ${fix}, such as 'web-1'`],
    ['web.1', `pod name: 'web.1' has '.', which a DNS label cannot contain; ${fix}, such as 'web-1'`],
    ['-web-', `pod name: '-web-' begins or ends with '-'; ${fix}, such as 'web'`],
    ['\u00e9', `pod name: '\u00e9' has '\u00e9', which a DNS label cannot contain; ${fix}`],
    [
      'a'.repeat(64),
      `pod name: '${'a'.repeat(64)}' has 64 characters; the limit is 63; ${fix}, such as '${'a'.repeat(63)}'`,
    ],
  ];
  for (const [name, message] of cases) {
    it(`says what is wrong with '${name}'`, () =>
      assert.throws(() => dnsLabel('pod name', name), { code: 'NAME_INVALID', message }));
  }

  it('takes a shorter limit', () => {
    assert.equal(dnsLabel('lab name', 'abcdef', 6), 'abcdef');
    assert.throws(() => dnsLabel('lab name', 'abcde-fgh', 6), {
      message: /9 characters; the limit is 6.*as 'abcde'$/,
    });
  });
});
