/**
 * Shows the classes of Effect by what this project says of them: a service by
 * the members of its interface, an error by its fields. What they inherit from
 * Effect would otherwise fill most of each page.
 */
import { Converter, ReflectionKind, ReflectionType } from "typedoc"

export const load = (app) => {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    const isOwn = (reflection) => project.getSymbolIdFromReflection(reflection)?.packageName === project.packageName
    for (const type of project.getReflectionsByKind(ReflectionKind.Class)) {
      const children = [...type.children ?? []]
      const service = children.find((child) => child.name === "Service" && child.type instanceof ReflectionType)
      if (service !== undefined) {
        const members = service.type.declaration.children ?? []
        for (const member of members) {
          member.parent = type
          type.addChild(member)
        }
        delete service.type.declaration.children
      }
      for (const child of children) {
        if (isOwn(child)) delete child.inheritedFrom
        else project.removeReflection(child)
      }
      delete type.extendedTypes
    }
  })
}
