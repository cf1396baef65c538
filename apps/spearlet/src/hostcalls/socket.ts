/** Where a command finds the socket for its hostcalls. */

/** Name of the socket in the work directory. */
export const socketName = ".spear-host";
/** Environment variables with the socket's path and the token for it. */
export const socketVariable = "SPEAR_HOST_SOCKET";
export const tokenVariable = "SPEAR_HOST_TOKEN";
