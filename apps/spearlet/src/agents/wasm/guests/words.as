// Counts the words of standard input and says each argument; fails if asked to.
const input = process.stdin;
const buffer = new ArrayBuffer(4096);
let text = "";
for (let size = input.read(buffer); size > 0; size = input.read(buffer)) {
  text += String.UTF8.decodeUnsafe(changetype<usize>(buffer), size as usize);
}
const words = text.trim().split(" ");
process.stdout.write("words: " + words.length.toString() + "\n");
for (let i = 1; i < process.argv.length; i++) process.stdout.write(process.argv[i] + "\n");
if (process.argv.includes("fail")) throw new Error("told to fail");
