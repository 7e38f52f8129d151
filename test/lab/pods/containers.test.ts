import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expand } from '../../../src/lab/pods/containers.ts';

test('$(NAME) is replaced if it is a variable of the pod, whatever objects inherit', () => {
  const env = { A: '1', EMPTY: '', valueOf: 'own' };
  assert.equal(expand('$(A) $(EMPTY) $(B) $$(A) $(valueOf)', env), '1  $(B) $(A) own');
  for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty'])
    assert.equal(expand(`$(${name})`, env), `$(${name})`);
});
