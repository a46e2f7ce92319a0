/** Where bands, blocks and positions of a picture lie: "Geometry" of docs/stream.md. */

export const LEVELS = 6;
export const DYADIC_LEVELS = 4;
export const BANDS = 57;
export const FLAG_GROUPS = 12;
const POSITION = 16;

/** Number of the band of a level (0: the low band), component and orientation. */
export function bandNumber(level, component, orientation) {
  return level === 0 ? component : 3 + 9 * (LEVELS - level) + 3 * component + orientation;
}

/** Level, component and orientation of a band. */
export function bandOrigin(band) {
  if (band < 3) return { level: 0, component: band, orientation: 0 };
  return {
    level: LEVELS - Math.floor((band - 3) / 9),
    component: (Math.floor(band / 3) - 1) % 3,
    orientation: band % 3,
  };
}

/** Number of the first band that is finer than `level`. */
export function bandsEnd(level) {
  return 3 + 9 * (LEVELS + 1 - level);
}

export const ceilDivide = (a, b) => Math.floor((a + b - 1) / b);

/** Shapes of a picture: padded sides, positions, bands and blocks, each as { rows, columns }. */
export class Geometry {
  constructor(height, width) {
    this.height = height;
    this.width = width;
    this.rows = ceilDivide(height, POSITION);
    this.columns = ceilDivide(width, POSITION);
    let rows = this.rows * POSITION;
    let columns = this.columns * POSITION;
    this.padded = { rows, columns };
    /** Sides of the low part after each level; index 0 is the padded picture. */
    this.low = [this.padded];
    this.bands = new Array(BANDS);
    for (let level = 1; level <= LEVELS; level++) {
      const highRows = rows >> 1;
      const highColumns = columns >> 1;
      rows -= highRows;
      columns -= highColumns;
      this.low.push({ rows, columns });
      const shapes = [
        { rows, columns: highColumns },
        { rows: highRows, columns },
        { rows: highRows, columns: highColumns },
      ];
      for (let component = 0; component < 3; component++) {
        for (let orientation = 0; orientation < 3; orientation++) {
          this.bands[bandNumber(level, component, orientation)] = shapes[orientation];
        }
      }
    }
    for (let component = 0; component < 3; component++) this.bands[component] = { rows, columns };
    this.blocks = [];
    for (let group = 0; group < FLAG_GROUPS; group++) {
      const side = 4 << (DYADIC_LEVELS - Math.floor(group / 3));
      this.blocks.push({
        rows: ceilDivide(this.padded.rows, side),
        columns: ceilDivide(this.padded.columns, side),
      });
    }
  }
}
