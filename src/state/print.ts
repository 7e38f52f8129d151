import { type Change, type Item, kindOf } from './item.ts';

/** The command a person would type to make a change. Nothing in flatnet runs it. */
export function changeCommand({ action, item, was }: Change): string {
  if (action === 'recreate') return `${command(item, 'delete')} && ${command(item, 'add')}`;
  if (action === 'change' && was) {
    const text = kindOf(item).changeCommand?.(item, was);
    if (text !== undefined) return text;
  }
  return command(item, action === 'delete' ? 'delete' : 'add');
}

/** The command a person would type to set an item, whatever its current state, or to delete it. */
export function command(item: Item, action: 'add' | 'delete'): string {
  return kindOf(item).command(item, action);
}

/**
 * Formats a change as one line for logs and `flatnet diff`: `+` add, `~` correct, `!` recreate or `-` delete,
 * and the command.
 */
export function changeText(change: Change): string {
  const { action, item } = change;
  const sign = { add: '+', change: '~', recreate: '!', delete: '-' }[action];
  const summary = action === 'delete' ? undefined : kindOf(item).summary?.(item);
  return `${sign} ${summary ?? changeCommand(change)}`;
}
