import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sessionsCut, withoutSessions } from '../../../../src/companions/bird/configuration/text.ts';

const session = (name: string, options: string, channel = 'import all;'): string =>
  `protocol bgp ${name} {\n  local port 179 as 64512;\n${options}  ipv4 {\n    ${channel}\n  };\n}\n`;

test('BIRD is restarted only for remaining sessions whose options change', () => {
  const before = [
    'router id 10.0.0.1;\n',
    session('A', ''),
    session('B', '  passive on;\n'),
    session('C', ''),
  ].join('\n');
  const after = [
    'router id 10.0.0.1;\n',
    session('A', '', 'import none;'),
    session('B', '  passive on;\n  rr client; rr cluster id 244.0.0.1;\n'),
    session('D', ''),
  ].join('\n');
  assert.deepEqual(sessionsCut(before, after), ['B']);
  assert.deepEqual(sessionsCut(after, before), ['B']);
  assert.deepEqual(sessionsCut(before, before), []);
  assert.deepEqual(sessionsCut('', after), []);
  // Nor can BIRD change these options of a channel (bgp_channel_reconfigure).
  for (const fixed of ['igp table Underlay4;', 'add paths on;']) {
    const [plain, other] = [session('A', ''), session('A', '', `import all;\n    ${fixed}`)];
    assert.deepEqual([sessionsCut(plain, other), sessionsCut(other, plain)], [['A'], ['A']]);
  }
});

test('removing the sessions keeps everything else', () => {
  const text = (sessions: string): string =>
    `filter A {\n  accept;\n}\n${sessions}protocol kernel K {\n  ipv4;\n}\n`;
  const session = 'protocol bgp B {\n  local as 1;\n  ipv4 {\n    import all;\n  };\n}\n';
  assert.equal(withoutSessions(text(session + session)), text(''));
  assert.equal(withoutSessions(text('')), text(''));
});
