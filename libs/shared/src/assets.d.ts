// Files that are imported as text or by path.
declare module "*.lua" {
  const text: string;
  export default text;
}
declare module "swagger-ui-dist/*" {
  const path: string;
  export default path;
}
declare module "*.binpb" {
  const path: string;
  export default path;
}
declare module "*.conf" {
  const text: string;
  export default text;
}
declare module "*.sh" {
  const text: string;
  export default text;
}
declare module "*.wasm" {
  const path: string;
  export default path;
}
declare module "*.wit" {
  const text: string;
  export default text;
}
