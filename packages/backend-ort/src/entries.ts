import type { DataId } from './backend.ts';
import { Entry } from './entry.ts';
import { tf } from './tf.ts';

/** The entries of a backend. A data id that it made is the entry itself. */
export class Entries {
  private readonly home: tf.KernelBackend;
  /** The entries of data ids that another backend made. */
  private readonly foreign = new Map<DataId, Entry>();
  private live = 0;
  private complex = 0;

  constructor(home: tf.KernelBackend) {
    this.home = home;
  }

  /** The number of data ids. TensorFlow.js counts a complex tensor as three: itself and its two parts. */
  get count(): number {
    return this.live + 2 * this.complex;
  }

  /** Counts a new entry. */
  add(entry: Entry): Entry {
    this.live++;
    if (entry.node !== null) entry.node.owners++;
    if (entry.imag !== null) {
      entry.imag.owners++;
      this.complex++;
    }
    return entry;
  }

  /** Counts a new entry for the data id of another backend. */
  adopt(dataId: DataId, entry: Entry): void {
    this.foreign.set(dataId, this.add(entry));
  }

  /** Whether the data is gone, after one tensor less uses it. With `force`, no tensor uses it any more. */
  release(dataId: DataId, force: boolean): boolean {
    const entry = this.find(dataId);
    if (entry === undefined) return true;
    entry.refCount--;
    if (!force && entry.refCount > 0) return false;
    entry.refCount = 0;
    if (dataId !== entry) this.foreign.delete(dataId);
    this.live--;
    if (entry.node !== null) entry.node.owners--;
    if (entry.imag !== null) {
      entry.imag.owners--;
      this.complex--;
    }
    return true;
  }

  /** The entry of a data id, if its data is here. */
  find(dataId: DataId): Entry | undefined {
    return dataId instanceof Entry && dataId.home === this.home && dataId.refCount > 0 ? dataId : this.foreign.get(dataId);
  }

  /** The entry of a data id. Data of another backend moves here. */
  get(dataId: DataId): Entry {
    let entry = this.find(dataId);
    if (entry === undefined && (tf.engine().state.tensorInfo.get(dataId)?.backend ?? this.home) !== this.home) {
      tf.engine().moveData(this.home, dataId);
      entry = this.find(dataId);
    }
    if (entry === undefined) throw new Error('ort: the tensor was disposed, or donated to a compiled call, before this use');
    return entry;
  }
}
