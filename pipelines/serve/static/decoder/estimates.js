/** Chances of splits of cell 0 and of signs that follow the picture: estimates, and how they are mixed. */

const BINS = 24;
const SIGN_BINS = 8;

/** First estimates of each kind among those of a band, and the number of all. */
const SIGN_CONTEXT = BINS;
const SIGN_AROUND = SIGN_CONTEXT + SIGN_BINS;
const SIGN_WEST = SIGN_AROUND + 81;
const SIGN_NORTH = SIGN_WEST + 81;
const SPLIT_RELATIVES = SIGN_NORTH + 81;
const SPLIT_NEAR = SPLIT_RELATIVES + 256;
const ESTIMATES = SPLIT_NEAR + 256;

/** Estimates before this one start from tables; the others have counts. */
const STORED = SIGN_AROUND;
const SIGN_INPUTS = 4;
const SPLIT_INPUTS = 3;

export const MOST_COUNT = 90;
export const MOST_MIXING = 2 ** 17;

const SHARE_BITS = 22;
const UNIT_BITS = SHARE_BITS - 16;
const LEAST = 1 << UNIT_BITS;
const MOST = (1 << SHARE_BITS) - LEAST;
const SETTLED_SHIFT = 7;
const COUNT_EDGES = [2, 5, 10, 22, 44, 90];
const SHIFTS = Uint8Array.from({ length: MOST_COUNT + 1 }, (_, count) => {
  return 1 + COUNT_EDGES.filter((edge) => count >= edge).length;
});

const LOG_ODDS_UNIT = 128;
const MOST_LOG_ODDS = 12 * LOG_ODDS_UNIT - 1;
const STRETCH_SHIFT = SHARE_BITS - 12;
const MIXING_BITS = 16;
const LEARNING_SHIFT = 15;
const HALF = 1 << (LEARNING_SHIFT - 1);

/** Log-odds by the upper 12 bits of a share. No value is near a half before it is rounded. */
const LOG_ODDS = Int16Array.from({ length: 4096 }, (_, i) => {
  return Math.round(LOG_ODDS_UNIT * Math.log((i + 0.5) / (4095 - i + 0.5)));
});

/** Frequencies of 1 by log-odds, from -MOST_LOG_ODDS on. */
const CHANCES = Uint16Array.from({ length: 2 * MOST_LOG_ODDS + 1 }, (_, i) => {
  const chance = 65536 / (1 + Math.exp((MOST_LOG_ODDS - i) / LOG_ODDS_UNIT));
  return Math.max(1, Math.min(Math.round(chance), 65535));
});

/** Return the frequency of 1 by a sum of log-odds times mixing weights, which fits in 32 bits. */
function chanceOf(weighted) {
  const logOdds = weighted >> MIXING_BITS;
  return CHANCES[MOST_LOG_ODDS + Math.max(-MOST_LOG_ODDS, Math.min(logOdds, MOST_LOG_ODDS))];
}

/** Return a mixing weight after a symbol; the products fit in 32 bits. */
function learned(weight, logOdds, error) {
  const moved = weight + ((error * logOdds + HALF) >> LEARNING_SHIFT);
  return Math.max(-MOST_MIXING, Math.min(moved, MOST_MIXING));
}

/** Return a magnitude in whole widths, at most 3. */
export function inWidths(magnitude, width) {
  const widths = (magnitude / width) | 0;
  return widths < 3 ? widths : 3;
}

/** Return the index of a split by what is near; `scaled` is the activity >> 10. */
export function nearIndex(scaled, west, width) {
  const a = scaled < 0 ? 0 : scaled > 1023 ? 1023 : scaled;
  const n = a < 32 ? a : Math.min(32 + ((a - 32) >> 4), 63);
  return 4 * n + inWidths(west, width);
}

/** The estimates and mixing weights of one band in one step at a time. */
export class Estimates {
  #coder;
  #weights;
  #shares = new Int32Array(ESTIMATES);
  #counts = new Uint8Array(ESTIMATES);
  #mixing = new Int32Array(SIGN_INPUTS + SPLIT_INPUTS);

  /**
   * @param {import("./rans.js").RansDecoder} coder
   * @param {import("./weights.js").Weights} weights
   */
  constructor(coder, weights) {
    this.#coder = coder;
    this.#weights = weights;
  }

  /** Start anew; `row` is that of the step and band, the tables are the first of the band. */
  start(row, splitTable, signTable) {
    const { shares, counts, mixing } = this.#weights.estimates;
    for (let bin = 0; bin < BINS; bin++) this.#shares[bin] = this.#settled(splitTable + bin);
    for (let bin = 0; bin < SIGN_BINS; bin++) {
      this.#shares[SIGN_CONTEXT + bin] = this.#settled(signTable + bin);
    }
    const mixes = this.#weights.mixesSplits;
    const stored = (mixes ? ESTIMATES : SPLIT_RELATIVES) - STORED;
    for (let i = 0; i < stored; i++) {
      this.#shares[STORED + i] = shares[row * stored + i] << UNIT_BITS;
      this.#counts[STORED + i] = counts[row * stored + i];
    }
    const inputs = SIGN_INPUTS + (mixes ? SPLIT_INPUTS : 0);
    for (let i = 0; i < inputs; i++) this.#mixing[i] = mixing[row * inputs + i];
  }

  #settled(table) {
    return this.#weights.frequencyOfOne(table) << UNIT_BITS;
  }

  /** Move an estimate that starts from a table. */
  #follow(at, symbol) {
    const share = this.#shares[at];
    this.#shares[at] = share + (((symbol ? MOST : LEAST) - share) >> SETTLED_SHIFT);
  }

  /** Move any other estimate. */
  #see(at, symbol) {
    const share = this.#shares[at];
    const count = this.#counts[at];
    this.#shares[at] = share + (((symbol ? MOST : LEAST) - share) >> SHIFTS[count]);
    if (count < MOST_COUNT) this.#counts[at] = count + 1;
  }

  /** Decode whether a coefficient leaves cell 0, by the bin of its activity alone. */
  split(bin) {
    const symbol = this.#coder.bit(this.#shares[bin] >> UNIT_BITS);
    this.#follow(bin, symbol);
    return symbol;
  }

  /** Decode whether a coefficient leaves cell 0, by the indices of three estimates. */
  mixedSplit(bin, relatives, near) {
    const shares = this.#shares;
    const mixing = this.#mixing;
    const byRelatives = SPLIT_RELATIVES + relatives;
    const byNear = SPLIT_NEAR + near;
    const odds1 = LOG_ODDS[shares[bin] >> STRETCH_SHIFT];
    const odds2 = LOG_ODDS[shares[byRelatives] >> STRETCH_SHIFT];
    const odds3 = LOG_ODDS[shares[byNear] >> STRETCH_SHIFT];
    const w1 = mixing[SIGN_INPUTS];
    const w2 = mixing[SIGN_INPUTS + 1];
    const w3 = mixing[SIGN_INPUTS + 2];
    const chance = chanceOf(w1 * odds1 + w2 * odds2 + w3 * odds3);
    const symbol = this.#coder.bit(chance);
    const error = (symbol << 16) - chance;
    mixing[SIGN_INPUTS] = learned(w1, odds1, error);
    mixing[SIGN_INPUTS + 1] = learned(w2, odds2, error);
    mixing[SIGN_INPUTS + 2] = learned(w3, odds3, error);
    this.#follow(bin, symbol);
    this.#see(byRelatives, symbol);
    this.#see(byNear, symbol);
    return symbol;
  }

  /** Decode whether a sign is plus; `plus`: whether its sign context predicts that. */
  sign(bin, plus, around, west, north) {
    const shares = this.#shares;
    const mixing = this.#mixing;
    const byContext = SIGN_CONTEXT + bin;
    const byAround = SIGN_AROUND + around;
    const byWest = SIGN_WEST + west;
    const byNorth = SIGN_NORTH + north;
    const wrong = LOG_ODDS[shares[byContext] >> STRETCH_SHIFT];
    const odds1 = plus ? -wrong : wrong;
    const odds2 = LOG_ODDS[shares[byAround] >> STRETCH_SHIFT];
    const odds3 = LOG_ODDS[shares[byWest] >> STRETCH_SHIFT];
    const odds4 = LOG_ODDS[shares[byNorth] >> STRETCH_SHIFT];
    const chance = chanceOf(
      mixing[0] * odds1 + mixing[1] * odds2 + mixing[2] * odds3 + mixing[3] * odds4,
    );
    const symbol = this.#coder.bit(chance);
    const error = (symbol << 16) - chance;
    mixing[0] = learned(mixing[0], odds1, error);
    mixing[1] = learned(mixing[1], odds2, error);
    mixing[2] = learned(mixing[2], odds3, error);
    mixing[3] = learned(mixing[3], odds4, error);
    this.#follow(byContext, plus ? 1 - symbol : symbol);
    this.#see(byAround, symbol);
    this.#see(byWest, symbol);
    this.#see(byNorth, symbol);
    return symbol === 1;
  }
}
