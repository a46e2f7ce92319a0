// The layers of one picture, fetched by byte ranges from a data file of the archive.

const PREFIX = 4; // bytes in front of a part, which hold its length
const LONGEST_RANGE = 8 * 2 ** 20; // bytes of one request

export class StoredLayers {
  /**
   * @param {string} archive address of the archive, with a slash at its end
   * @param {{file: string, parts: Array<Array<[number, number] | null>>}} stored path of the data
   *   file below it; for each size and in it each layer, start and length of the part
   */
  constructor(archive, { file, parts }) {
    this.address = archive + file.split("/").map(encodeURIComponent).join("/");
    this.parts = parts;
    this.fetched = new Map(); // promises of bytes, by the start of the part
  }

  /**
   * Return the stream of layers 1 to `layers` for size number `place`. Each part is fetched once.
   * @returns {Promise<Uint8Array>}
   * @throws {Error} if a part cannot be fetched, or its length is not the one in front of it
   */
  async stream(layers, place) {
    const wanted = [];
    for (let layer = 0; layer < layers; layer++) {
      for (let size = 0; size <= place; size++) {
        if (this.parts[size][layer]) wanted.push(this.part(...this.parts[size][layer]));
      }
    }
    return joined(await Promise.all(wanted));
  }

  part(start, length) {
    if (!this.fetched.has(start)) {
      const bytes = this.fetchPart(start, length);
      bytes.catch(() => this.fetched.delete(start)); // so that another try fetches it again
      this.fetched.set(start, bytes);
    }
    return this.fetched.get(start);
  }

  async fetchPart(start, length) {
    const pieces = [];
    const stop = start + length;
    for (let at = start - PREFIX; at < stop; at += LONGEST_RANGE) {
      pieces.push(await fetchRange(this.address, at, Math.min(at + LONGEST_RANGE, stop)));
    }
    const bytes = joined(pieces);
    if (new DataView(bytes.buffer).getUint32(0, true) !== length) {
      throw new Error("the archive has other bytes where a layer of this picture should be");
    }
    return bytes.subarray(PREFIX);
  }
}

/** Return bytes [start, stop) of an address; an Error unless the server sends exactly these. */
async function fetchRange(address, start, stop) {
  let answer;
  try {
    answer = await fetch(address, { headers: { Range: `bytes=${start}-${stop - 1}` } });
  } catch {
    throw new Error("the archive does not answer, or its server does not allow this page (CORS)");
  }
  if (answer.status !== 206) {
    answer.body?.cancel();
    throw new Error(answer.ok
      ? "the server of the archive sends whole files where a byte range is requested"
      : `the server of the archive answers with status ${answer.status}`);
  }
  const bytes = new Uint8Array(await answer.arrayBuffer());
  if (bytes.length !== stop - start) {
    throw new Error(`the archive sent ${bytes.length} of ${stop - start} bytes`);
  }
  return bytes;
}

function joined(pieces) {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
