import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sessionsCut } from '../../../src/companions/bird/configuration/cut.ts';

const session = (name: string, options: string, channel = 'import all;'): string =>
  `protocol bgp ${name} {\n  local port 179 as 64512;\n${options}  ipv4 {\n    ${channel}\n  };\n}\n`;

test('BIRD is restarted only for sessions that stay and have other options', () => {
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
});
