/** The OpenAPI UI at `/docs`, served from the package's own files: no internet is needed. */
import { Elysia } from "elysia";
import bundle from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" };
import styles from "swagger-ui-dist/swagger-ui.css" with { type: "file" };

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>SPEAR API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({ url: "/openapi.json", dom_id: "#ui", deepLinking: true });</script>
</body>
</html>
`;

function file(path: string, type: string): Response {
  return new Response(Bun.file(path).stream(), { headers: { "content-type": type } });
}

export function docsPage() {
  const hide = { detail: { hide: true } };
  return new Elysia()
    .get(
      "/docs",
      () => new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),
      hide,
    )
    .get("/docs/swagger-ui.css", () => file(styles, "text/css"), hide)
    .get("/docs/swagger-ui-bundle.js", () => file(bundle, "text/javascript"), hide);
}
