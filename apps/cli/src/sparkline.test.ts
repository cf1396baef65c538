import { expect, test } from "bun:test";
import { sparkline } from "./sparkline.ts";

test("a row of numbers is a row of bars, the last ones, up to the greatest or what is given", () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe("▁▂▃▄▅▆▇█");
  expect(sparkline([9, 9, 0, 7], 2)).toBe("▁█");
  expect(sparkline([1, 2], 8, 14)).toBe("▂▂");
  expect(sparkline([20, -1], 8, 10)).toBe("█▁");
  expect(sparkline([0, 0], 8)).toBe("▁▁");
  expect(sparkline([], 8)).toBe("");
});
