/** Who asks: the result of token validation, handed to every use case. */
export interface Caller {
  readonly userId: string;
  readonly userName: string;
  /** Null for unscoped and domain- or system-scoped tokens. */
  readonly projectId: string | null;
  readonly roles: readonly string[];
  /** True with the role `admin` in any project: a cloud admin, as Cinder's and Glance's default policies have it. */
  readonly isAdmin: boolean;
  /** `req-<uuid>`, for logs and error messages. */
  readonly requestId: string;
}
