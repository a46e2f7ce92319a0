/** A layer breaks a numbered rule of docs/stream.md; the layers before it stand. */
export class LayerDamaged extends Error {
  /**
   * @param {number} layer counted from 0, as in the stream
   * @param {string} rule such as "S4"
   * @param {string} reason
   */
  constructor(layer, rule, reason) {
    super(`layer ${layer + 1}: ${reason} (${rule})`);
    this.name = "LayerDamaged";
    this.layer = layer;
    this.rule = rule;
  }
}

/** The stream was made for other weights, or has a version that this reader does not know. */
export class NotReadable extends Error {
  constructor(reason) {
    super(reason);
    this.name = "NotReadable";
  }
}

/** A weights file breaks a rule, or needs more than this reader has. */
export class WeightsDamaged extends Error {
  constructor(reason) {
    super(reason);
    this.name = "WeightsDamaged";
  }
}
