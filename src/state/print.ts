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

/** The command a person would type to have an item, whatever is there now, or to delete it. */
export function command(item: Item, action: 'add' | 'delete'): string {
  return kindOf(item).command(item, action);
}

/**
 * One line for a change, of a log and of `flatnet diff`: `+` add, `~` set right, `!` delete and make anew,
 * `-` delete, and the command.
 */
export function changeText(change: Change): string {
  const { action, item } = change;
  const sign = { add: '+', change: '~', recreate: '!', delete: '-' }[action];
  const summary = action === 'delete' ? undefined : kindOf(item).summary?.(item);
  return `${sign} ${summary ?? changeCommand(change)}`;
}
